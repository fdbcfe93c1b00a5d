// RMSNorm and LayerNorm, alone and fused with the residual add. All sums in f32.
#pragma once

#include "../core/tensor_view.h"

namespace reelm::kernels {

/// y = x / sqrt(mean(x^2) + eps) * weight, row by row. x, y [m, d] (may be the same), weight [d].
/// Source: Qwen2VLRMSNorm (transformers).
void rms_norm(TensorView<const float> x, const float* weight, float eps, TensorView<float> y);

/// residual += delta; y = rms_norm(residual). residual, delta, y [m, d].
void add_rms_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  float eps, TensorView<float> y);

/// Every head by itself, in place: x [n, heads, head_dim] (any stride of the first two), weight
/// [head_dim]. Source: q_norm and k_norm of Qwen3VLTextAttention (transformers).
void head_rms_norm(TensorView<float> x, const float* weight, float eps);

/// y = (x - mean) / sqrt(var + eps) * weight + bias, row by row; biased variance as torch. x, y [m,
/// d].
void layer_norm(TensorView<const float> x, const float* weight, const float* bias, float eps,
                TensorView<float> y);

/// residual += delta; y = layer_norm(residual).
void add_layer_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                    const float* bias, float eps, TensorView<float> y);

}  // namespace reelm::kernels
