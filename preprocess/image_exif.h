// The orientation that a camera wrote into a picture. Not installed.
#pragma once

#include <cstddef>
#include <span>

#include "core/aligned_buffer.h"
#include "preprocess/image.h"

namespace reelm::preprocess {

/// The Exif orientation (1 to 8) of a JPEG, PNG or WebP; 1 where there is none or it makes no
/// sense. Never throws: a picture without it is a picture.
int exif_orientation(std::span<const std::byte> bytes) noexcept;

/// Whether the orientation exchanges height and width.
constexpr bool exif_swaps_sides(int orientation) noexcept { return orientation >= 5; }

/// Turns and mirrors as PIL.ImageOps.exif_transpose does.
RgbImage exif_transpose(RgbImage image, int orientation);

}  // namespace reelm::preprocess
