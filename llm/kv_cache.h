// Keys and values of the positions a decoder has seen, sized once and written in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "../core/aligned_buffer.h"
#include "../core/dtype.h"
#include "../core/tensor_view.h"

namespace reelm::llm {

/// Element type of cached keys and values: f32 for exact parity, bf16 for half the bytes a step
/// reads.
enum class KvType { kF32, kBF16 };

/// [layer][key or value][kv head][capacity][head_dim]: a decode step streams each head's rows in
/// order.
class KvCache {
 public:
  struct Shape {
    std::int64_t num_layers = 0;
    std::int64_t num_key_value_heads = 0;
    std::int64_t head_dim = 0;

    /// Bytes one position takes in all layers; throws Error{kLimit} on overflow.
    std::int64_t bytes_per_position(KvType type) const;
  };

  /// Room for `capacity` positions. Throws Error{kOutOfMemory}, {kLimit} when the size overflows.
  KvCache(const Shape& shape, KvType type, std::int64_t capacity);

  std::int64_t capacity() const noexcept { return capacity_; }
  /// Positions filled.
  std::int64_t length() const noexcept { return length_; }
  KvType type() const noexcept { return type_; }
  const Shape& shape() const noexcept { return shape_; }
  std::size_t size_bytes() const noexcept { return f32_.size_bytes() + bf16_.size_bytes(); }

  /// Copies keys and values [n, kv_heads, head_dim] of one layer to positions length() ..
  /// length()+n, rounding them to the cache's type. Throws Error{kLimit} when they do not fit:
  /// never a silent cap.
  void write(std::int64_t layer, TensorView<const float> keys, TensorView<const float> values);
  /// Counts n positions, written to every layer, as filled.
  void advance(std::int64_t n);
  /// Forgets all positions from `length` on (to ask again after a shared beginning).
  void truncate(std::int64_t length);

  /// The first n positions of one layer, [n, kv_heads, head_dim]. The type must be the cache's.
  TensorView<const float> keys_f32(std::int64_t layer, std::int64_t n) const;
  TensorView<const float> values_f32(std::int64_t layer, std::int64_t n) const;
  TensorView<const bf16_t> keys_bf16(std::int64_t layer, std::int64_t n) const;
  TensorView<const bf16_t> values_bf16(std::int64_t layer, std::int64_t n) const;

 private:
  std::int64_t offset(std::int64_t layer, std::int64_t which) const noexcept;

  Shape shape_;
  KvType type_;
  std::int64_t capacity_;
  std::int64_t length_ = 0;
  AlignedBuffer<float> f32_;
  AlignedBuffer<bf16_t> bf16_;
};

}  // namespace reelm::llm
