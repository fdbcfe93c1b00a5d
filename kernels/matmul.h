// Products of activations with weights that were packed once.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "../core/dtype.h"
#include "../core/tensor_view.h"

namespace reelm::kernels {

/// A weight as stored in a checkpoint: `rows` x `cols` elements of `dtype` (F32, F16 or BF16), row
/// major, [out_features, in_features] as torch.nn.Linear keeps it. Any alignment.
struct StoredMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

/// What a product computes in: the weights' type as packed, and the type activations are rounded to
/// before they are multiplied. Sums are always kept in f32.
enum class ComputeType { kF32, kBF16 };

/// A weight [out_features, in_features] in the layout the kernels want. Immutable, shared by
/// threads.
class PackedMatrix {
 public:
  PackedMatrix();
  /// Packs `parts` stacked by rows (for fused q/k/v or gate/up), all with the same number of
  /// columns. Throws Error{kOutOfMemory}; REELM_CHECKs that the columns agree.
  PackedMatrix(std::span<const StoredMatrix> parts, ComputeType type);
  PackedMatrix(const StoredMatrix& part, ComputeType type);
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  std::int64_t out_features() const noexcept;
  std::int64_t in_features() const noexcept;
  ComputeType type() const noexcept;
  /// Bytes held by the packed copy.
  std::size_t size_bytes() const noexcept;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }

 private:
  std::unique_ptr<const Impl> impl_;
};

/// Applied to each sum before it is stored.
enum class Activation { kNone, kQuickGelu, kGelu, kSilu };

/// y = activation(x * w^T + bias) [+ y when accumulate].
struct Epilogue {
  const float* bias = nullptr;  ///< [out_features] or null
  Activation activation = Activation::kNone;
  bool accumulate = false;  ///< adds to what y holds (the residual), after the activation
};

/// x [m, in_features], y [m, out_features]; rows may be strided, columns are dense. x and y do not
/// overlap. Few rows (decoding) stream the weights once; many rows go through the blocked product.
/// Uses a scratch buffer a thread keeps for its lifetime, so that a forward pass allocates nothing
/// once it has warmed up.
void matmul(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
            const Epilogue& epilogue = {});

}  // namespace reelm::kernels
