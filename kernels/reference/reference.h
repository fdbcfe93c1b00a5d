// The oracle: every kernel in plain loops, sums in double, no vectors and no threads. Complete,
// slow, used by tests and as a candidate that has to be asked for. Signatures and meanings are
// those of the headers in kernels/.
#pragma once

#include <span>
#include <vector>

#include "../activation.h"
#include "../attention.h"
#include "../convert.h"
#include "../matmul.h"
#include "../norm.h"
#include "../quantize.h"
#include "../rotary.h"

namespace reelm::kernels::reference {

void rms_norm(TensorView<const float> x, const float* weight, float eps, TensorView<float> y);
void add_rms_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  float eps, TensorView<float> y);
void layer_norm(TensorView<const float> x, const float* weight, const float* bias, float eps,
                TensorView<float> y);
void add_layer_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                    const float* bias, float eps, TensorView<float> y);

void rotary(TensorView<float> x, TensorView<const float> cos, TensorView<const float> sin);

void silu_mul(TensorView<const float> x, TensorView<float> y);
void quick_gelu(TensorView<float> x);
void gelu(TensorView<float> x);
void gelu_tanh(TensorView<float> x);

void convert(const float* from, bf16_t* to, std::int64_t n);
void convert(const bf16_t* from, float* to, std::int64_t n);
void convert(const f16_t* from, float* to, std::int64_t n);

void quantize_rows(TensorView<const float> x, TensorView<std::int8_t> y, float* scales);

/// Takes the parts as stored. With kBF16 both sides are rounded to bf16 first.
void matmul(TensorView<const float> x, std::span<const StoredMatrix> parts, ComputeType type,
            TensorView<float> y, const Epilogue& epilogue = {});

/// The weights of a matrix of a quantised type as its blocks say, [out_features, in_features] in
/// order.
std::vector<double> dequantised(const PackedMatrix& w);
/// A group of activations (128 or, with ggml's types, 32 of a row) after rounding to int8 and back.
void round_activations(std::span<const float> from, std::span<double> to);
/// The product with weights of a quantised type: of dequantised(w) and rounded activations.
void matmul_quantised(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
                      const Epilogue& epilogue = {});

void attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
               TensorView<float> out, float scale, bool causal);
void attention(TensorView<const float> q, TensorView<const bf16_t> k, TensorView<const bf16_t> v,
               TensorView<float> out, float scale, bool causal);
void attention(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
               TensorView<float> out, float scale, bool causal);
void attention_forward_varlen(TensorView<const float> q, TensorView<const float> k,
                              TensorView<const float> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal);

}  // namespace reelm::kernels::reference
