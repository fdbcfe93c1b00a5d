// A linear layer: what every model family is wired from.
#pragma once

#include "../core/aligned_buffer.h"
#include "../kernels/matmul.h"

namespace reelm::layers {

/// torch.nn.Linear: y = x * weight^T + bias. The weight may be several of them stacked by rows.
struct Linear {
  kernels::PackedMatrix weight;  // [out_features, in_features]
  AlignedBuffer<float> bias;     // [out_features], or empty

  std::int64_t out_features() const noexcept { return weight.out_features(); }
  std::int64_t in_features() const noexcept { return weight.in_features(); }

  /// x [m, in_features], y [m, out_features]; see kernels::matmul for the epilogue.
  void forward(TensorView<const float> x, TensorView<float> y,
               kernels::Activation activation = kernels::Activation::kNone,
               bool accumulate = false) const {
    kernels::matmul(x, weight, y, {bias.data(), activation, accumulate});
  }

  /// Of a gated weight (WeightReader::gated): y [m, out_features / 2] = silu(gate) * up.
  void forward_gated(TensorView<const float> x, TensorView<float> y) const {
    kernels::matmul(x, weight, y,
                    {.bias = bias.data(), .activation = kernels::Activation::kSilu, .gated = true});
  }

  std::size_t size_bytes() const noexcept { return weight.size_bytes() + bias.size_bytes(); }
};

}  // namespace reelm::layers
