// PNG files of pictures that programs draw.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/tensor_view.h"

namespace reelm::apps {

/// Encodes RGB pixels [height, width, 3]; rows may be padded. Throws Error{kOutOfMemory}.
std::vector<std::byte> encode_png(TensorView<const std::uint8_t> rgb);

}  // namespace reelm::apps
