// The three image decoders behind image.h. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "preprocess/image.h"

namespace reelm::preprocess {

ImageHeader read_png_header(std::span<const std::byte> bytes, const std::string& name);
ImageHeader read_jpeg_header(std::span<const std::byte> bytes, const std::string& name);
ImageHeader read_webp_header(std::span<const std::byte> bytes, const std::string& name);

/// To `rgb` [height, width, 3] of the header's size.
void decode_png(std::span<const std::byte> bytes, const std::string& name,
                const ImageHeader& header, std::uint8_t* rgb);
void decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, std::uint8_t* rgb);
void decode_webp(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, std::uint8_t* rgb);

/// One pixel over white, in the integers of Pillow's paste with a mask (BLEND and DIV255).
inline std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) noexcept {
  const unsigned sum = 255u * (255u - alpha) + static_cast<unsigned>(value) * alpha + 128u;
  return static_cast<std::uint8_t>((sum + (sum >> 8)) >> 8);
}

}  // namespace reelm::preprocess
