// Attention as it is written down: scores, mask, softmax and product one after the other, each over
// a whole matrix. Plain loops, sums in double, one thread: the arithmetic of kernels/reference,
// which forms neither matrix.
#pragma once

#include <cstdint>
#include <span>

#include "bench/ladder/tensor.h"
#include "core/dtype.h"

namespace reelm::bench {

/// [n_q, n_k] of 0 and -inf: the queries are the last n_q of n_filled positions, row i attends to
/// keys 0 .. n_filled - n_q + i. Keys from n_filled to n_k are room that is not filled yet.
Tensor causal_mask(std::int64_t n_q, std::int64_t n_k, std::int64_t n_filled, Counters& counters);

/// [n, n] of 0 and -inf, n the last of cu_seqlens: rows attend within their own sequence.
Tensor block_mask(std::span<const std::int64_t> cu_seqlens, Counters& counters);

/// Shapes and heads as kernels::attention. `mask` [n_q, n_k] is added to the scores; every row has
/// a 0. Forms scores [heads, n_q, n_k].
template <typename T>
void plain_attention(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                     TensorView<const float> mask, float scale, TensorView<float> out,
                     Counters& counters);

extern template void plain_attention(TensorView<const float>, TensorView<const float>,
                                     TensorView<const float>, TensorView<const float>, float,
                                     TensorView<float>, Counters&);
extern template void plain_attention(TensorView<const float>, TensorView<const bf16_t>,
                                     TensorView<const bf16_t>, TensorView<const float>, float,
                                     TensorView<float>, Counters&);

}  // namespace reelm::bench
