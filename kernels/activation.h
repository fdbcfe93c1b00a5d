// Activations of the gated and plain MLPs.
#pragma once

#include "../core/tensor_view.h"

namespace reelm::kernels {

/// y = silu(gate) * up with gate = x[:, :d], up = x[:, d:]; x [m, 2*d] (rows may be strided), y [m,
/// d]. y may be the first half of x.
void silu_mul(TensorView<const float> x, TensorView<float> y);

/// x = x * sigmoid(1.702 * x), in place; x [m, d].
void quick_gelu(TensorView<float> x);

/// x = 0.5 * x * (1 + erf(x / sqrt(2))), in place; x [m, d] (torch.nn.GELU, not the tanh form).
void gelu(TensorView<float> x);

/// x = 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))), in place; x [m, d]
/// (torch.nn.GELU(approximate="tanh"), gelu_pytorch_tanh).
void gelu_tanh(TensorView<float> x);

}  // namespace reelm::kernels
