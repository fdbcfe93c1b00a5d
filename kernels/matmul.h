// Products of activations with weights that were packed once.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "../core/dtype.h"
#include "../core/tensor_view.h"

namespace reelm::kernels {

/// A weight as stored in a checkpoint: `rows` x `cols` elements of `dtype` (F32, F16, BF16, or a
/// quantised type, of which a row is whole blocks), row major, [out_features, in_features] as
/// torch.nn.Linear keeps it. Any alignment.
struct StoredMatrix {
  const void* data = nullptr;
  DType dtype = DType::kF32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
};

/// What a product computes in: the weights' type as packed, and the type activations are rounded to
/// before they are multiplied. Sums are kept in f32. int8 and int4 share scales among 128 inputs: a
/// weight is scale * (q - 128), 8.125 bits each (kInt8), or scale * (step * q + base - 128) with q
/// in 0..15 and step and base shared by 32 inputs, 4.625 bits each (kInt4; simd/table.h has the
/// blocks). Activations are rounded to int8 with a scale for each row's 128 inputs; their 128
/// products with either are summed in integers, exactly.
///
/// kQ8_0 and kQ4_0 are ggml's types as they are stored, of which only the order changes: a weight
/// is scale * q with q in -128..127, or scale * (q - 8) with q in 0..15, and an f16 scale of 32
/// inputs, 8.5 and 4.5 bits. Only matrices stored in that very type are packed to them. Activations
/// are rounded to int8 with a scale for each row's 32 inputs.
enum class ComputeType { kF32, kBF16, kInt8, kInt4, kQ8_0, kQ4_0 };

/// "f32", "bf16", "int8", "int4", "q8_0", "q4_0".
const char* compute_type_name(ComputeType type) noexcept;
/// 32, 16, 8.125, 4.625, 8.5, 4.5: of a weight whose sizes need no padding.
double bits_per_weight(ComputeType type) noexcept;
/// Whether products with it round activations to int8.
constexpr bool is_quantized(ComputeType type) noexcept {
  return type != ComputeType::kF32 && type != ComputeType::kBF16;
}
/// Whether its weights are ggml's, kept as they are stored.
constexpr bool keeps_blocks(ComputeType type) noexcept {
  return type == ComputeType::kQ8_0 || type == ComputeType::kQ4_0;
}
/// The type that weights are stored in which are packed to a type that keeps_blocks().
constexpr DType stored_type(ComputeType type) noexcept {
  return type == ComputeType::kQ8_0 ? DType::kQ8_0 : DType::kQ4_0;
}

/// Counts up with every change of what packed bytes mean, or of how weights are rounded to them.
inline constexpr int kPackedLayoutVersion = 2;

/// A weight [out_features, in_features] in the layout the kernels want. Immutable, shared by
/// threads.
class PackedMatrix {
 public:
  PackedMatrix();
  /// Packs `parts` stacked by rows (for fused q/k/v or gate/up), all with the same number of
  /// columns. Throws Error{kOutOfMemory}; REELM_CHECKs that the columns agree, and that the parts
  /// are stored_type() where the type keeps_blocks().
  PackedMatrix(std::span<const StoredMatrix> parts, ComputeType type);
  PackedMatrix(const StoredMatrix& part, ComputeType type);
  /// A weight that was packed before: `bytes` are those of another one's packed_bytes(), 64-byte
  /// aligned, and live as long as `owner`. Throws Error{kFormat} when they are not aligned or
  /// not as many as a weight of these sizes takes, {kLimit} when that number overflows.
  static PackedMatrix from_packed(std::int64_t out_features, std::int64_t in_features,
                                  ComputeType type, std::span<const std::byte> bytes,
                                  std::shared_ptr<const void> owner);
  PackedMatrix(PackedMatrix&&) noexcept;
  PackedMatrix& operator=(PackedMatrix&&) noexcept;
  ~PackedMatrix();

  std::int64_t out_features() const noexcept;
  std::int64_t in_features() const noexcept;
  ComputeType type() const noexcept;
  /// Bytes held by the packed copy.
  std::size_t size_bytes() const noexcept { return packed_bytes().size(); }
  /// The packed copy, in the layout of `kPackedLayoutVersion`. The same on every instruction set.
  std::span<const std::byte> packed_bytes() const noexcept;
  /// The same weight, not a copy of its bytes.
  PackedMatrix shared_copy() const;
  /// Keeps packed_bytes() alive.
  std::shared_ptr<const void> share() const noexcept;

  struct Impl;
  const Impl& impl() const noexcept { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// Applied to each sum before it is stored.
enum class Activation { kNone, kQuickGelu, kGelu, kSilu, kGeluTanh };

/// Rows of gate and of up that lie side by side in a gated weight: half a panel each, so that the
/// sums of both are at hand when y is written.
inline constexpr std::int64_t kGatedRows = 32;

/// The parts of a gated weight for PackedMatrix: kGatedRows rows of `gate` [d, k], as many of `up`
/// [d, k], and so on; the last two may be fewer.
std::vector<StoredMatrix> gated_parts(const StoredMatrix& gate, const StoredMatrix& up);

/// y = activation(x * w^T + bias) [+ y when accumulate].
struct Epilogue {
  const float* bias = nullptr;  ///< [out_features] or null
  Activation activation = Activation::kNone;
  bool accumulate = false;  ///< adds to what y holds (the residual), after the activation
  /// The weight (and the bias) is of gated_parts(): y [m, out_features / 2] = silu(gate) * up. With
  /// activation kSilu, not accumulated.
  bool gated = false;
};

/// x [m, in_features], y [m, out_features] (half of them when gated); rows may be strided, columns
/// are dense. x and y do not overlap. Few rows (decoding) stream the weights once; many rows go
/// through the blocked product. Uses a scratch buffer a thread keeps for its lifetime, so that a
/// forward pass allocates nothing once it has warmed up.
void matmul(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
            const Epilogue& epilogue = {});

}  // namespace reelm::kernels
