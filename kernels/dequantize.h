// Elements of ggml's quantised types (GGUF files) as floats.
#pragma once

#include <cstdint>

#include "../core/dtype.h"

namespace reelm::kernels {

/// `n` elements, a multiple of dtype_layout(dtype).block, of a quantised type as f32: the numbers
/// that ggml's dequantize_row_* give, bit for bit. `blocks` may lie at any address. In this thread.
void dequantize(DType dtype, const void* blocks, float* out, std::int64_t n) noexcept;

}  // namespace reelm::kernels
