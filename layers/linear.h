// A linear layer, and the loading of weights from a checkpoint: what every model family is wired
// from.
#pragma once

#include <initializer_list>
#include <span>
#include <string>

#include "../core/aligned_buffer.h"
#include "../core/safetensors.h"
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

  std::size_t size_bytes() const noexcept { return weight.size_bytes() + bias.size_bytes(); }
};

/// One part of a (stacked) linear layer: "<prefix>.weight" [out_features, in_features] and, where
/// `has_bias`, "<prefix>.bias" [out_features].
struct LinearPart {
  std::string prefix;
  std::int64_t out_features;
  std::int64_t in_features;
};

/// Reads and packs the parts stacked by rows. Throws Error naming file, tensor, found and expected
/// when a tensor is missing or misshapen.
Linear load_linear(const Checkpoint& checkpoint, std::span<const LinearPart> parts, bool has_bias,
                   kernels::ComputeType type);
Linear load_linear(const Checkpoint& checkpoint, const LinearPart& part, bool has_bias,
                   kernels::ComputeType type);

/// A stored matrix [rows, cols] by view, not copied; a tensor of higher rank is flattened behind
/// its first size (Conv3d weights). Throws as load_linear.
kernels::StoredMatrix stored_matrix(const Checkpoint& checkpoint, const std::string& name,
                                    std::initializer_list<std::int64_t> shape);

/// A tensor of any float type as f32 [numel]. Throws as load_linear.
AlignedBuffer<float> load_vector(const Checkpoint& checkpoint, const std::string& name,
                                 std::int64_t size);

/// Copies elements `offset` .. `offset + n` of a stored matrix into f32.
void copy_elements(const kernels::StoredMatrix& matrix, std::int64_t offset, std::int64_t n,
                   float* out);

}  // namespace reelm::layers
