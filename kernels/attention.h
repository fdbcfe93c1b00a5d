// Softmax attention. Several implementations compute it (candidate_names() of tuner.h): by default
// one that never forms a score matrix, tiles for prompts and one pass for a decode step.
#pragma once

#include <cstdint>
#include <span>

#include "../core/dtype.h"
#include "../core/tensor_view.h"
#include "matmul.h"

namespace reelm::kernels {

/// The `math` of a model whose weights are packed as `type`: a model in f32 wants parity with the
/// f32 reference; in any narrower type its products round activations to bf16 or less already.
constexpr ComputeType attention_math(ComputeType type) noexcept {
  return type == ComputeType::kF32 ? ComputeType::kF32 : ComputeType::kBF16;
}

/// Keys or values in int8: element [j, h, i] is values[j, h, i] * scales[j, h]. Made by
/// quantize_rows (quantize.h).
struct Int8Heads {
  TensorView<const std::int8_t> values;  ///< [n_k, kv_heads, head_dim], the last dense
  TensorView<const float> scales;        ///< [n_k, kv_heads], any strides
};

/// One sequence. q, out [n_q, heads, head_dim]; k, v [n_k, kv_heads, head_dim]; any strides for the
/// first two, the last dense. heads is a multiple of kv_heads; head h reads kv head h / (heads /
/// kv_heads). Row i of q attends to k rows 0 .. n_k - n_q + i when `causal` (the queries are the
/// last n_q positions), else to all; a row that sees none is zeros. Softmax in f32. out may not
/// overlap the inputs.
///
/// By default memory is O(tile), never [n_q, n_k], and a warm call allocates nothing. With `math`
/// kBF16 the scaled q, k, v and the softmax weights are rounded to bf16 before they are multiplied
/// (as torch does in bf16), which a bf16 dot product computes twice as fast; sums and the softmax
/// stay f32. A few rows (n_q * heads / kv_heads <= 16: decoding) wait for memory and are computed
/// in f32 all the same.
void attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
               TensorView<float> out, float scale, bool causal,
               ComputeType math = ComputeType::kF32);
/// The same over keys and values kept in bf16 (the KV cache of --dtype bf16).
void attention(TensorView<const float> q, TensorView<const bf16_t> k, TensorView<const bf16_t> v,
               TensorView<float> out, float scale, bool causal,
               ComputeType math = ComputeType::kF32);
/// The same over keys and values kept in int8 with a scale a row (--kv-dtype int8). Tiles widen to
/// value * scale (rounded with `math` kBF16); a few rows are computed from the int8 values, with
/// the scales multiplied into scores and weights.
void attention(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
               TensorView<float> out, float scale, bool causal,
               ComputeType math = ComputeType::kF32);

/// A batch of sequences of one length: q, out [batch, n_q, heads, head_dim]; k, v [batch, n_k,
/// kv_heads, head_dim] (int8: values of these sizes, scales [batch, n_k, kv_heads]); each as
/// attention().
void attention_forward(TensorView<const float> q, TensorView<const float> k,
                       TensorView<const float> v, TensorView<float> out, float scale, bool causal,
                       ComputeType math = ComputeType::kF32);
void attention_forward(TensorView<const float> q, TensorView<const bf16_t> k,
                       TensorView<const bf16_t> v, TensorView<float> out, float scale, bool causal,
                       ComputeType math = ComputeType::kF32);
void attention_forward(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
                       TensorView<float> out, float scale, bool causal,
                       ComputeType math = ComputeType::kF32);

/// Sequences of any lengths laid end to end: q, out [total_q, heads, head_dim]; k, v [total_k,
/// kv_heads, head_dim]. Sequence s is rows cu_seqlens_q[s] .. cu_seqlens_q[s + 1] of q and out and
/// rows cu_seqlens_k[s] .. of k and v, each as attention(). Both lists are of one size, start at 0,
/// never fall, and end at total_q and total_k; a sequence may be empty on either side. Source: the
/// cu_seqlens slices of VisionAttention in transformers.
void attention_forward_varlen(TensorView<const float> q, TensorView<const float> k,
                              TensorView<const float> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math = ComputeType::kF32);
void attention_forward_varlen(TensorView<const float> q, TensorView<const bf16_t> k,
                              TensorView<const bf16_t> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math = ComputeType::kF32);
void attention_forward_varlen(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
                              TensorView<float> out, std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math = ComputeType::kF32);

}  // namespace reelm::kernels
