// Weights in ggml's types as the kernels want them. Not installed.
#pragma once

#include <cstdint>

#include "matmul.h"

namespace reelm::kernels {

/// The blocks of `rows` (Q8_0 or Q4_0, at most 64 rows) become columns [col, col + rows.rows) of a
/// panel of k_pad / 128 Q8_0Block or Q4_0Block (simd/table.h): the same integers and scales in
/// another order. Zeros behind the last block. In this thread.
void pack_blocks(const StoredMatrix& rows, std::int64_t k_pad, std::int64_t col,
                 void* panel) noexcept;

}  // namespace reelm::kernels
