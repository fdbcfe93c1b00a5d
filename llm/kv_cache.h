// Keys and values of the positions a decoder has seen, sized once and written in place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

#include "../core/aligned_buffer.h"
#include "../core/dtype.h"
#include "../core/tensor_view.h"
#include "../kernels/attention.h"

namespace reelm::llm {

/// Element type of cached keys and values: f32 for exact parity, bf16 for half the bytes a step
/// reads, int8 for a quarter and a scale a row (132 bytes of 512 at head_dim 128; see
/// kernels/quantize.h for its rounding).
enum class KvType { kF32, kBF16, kInt8 };

/// "f32", "bf16" or "int8".
const char* kv_type_name(KvType type) noexcept;
/// Parses those, and "auto" as nothing (the type that suits the weights); throws
/// Error{kInvalidArgument} naming them.
std::optional<KvType> parse_kv_type(const std::string& name);

/// [layer][key or value][kv head][capacity][head_dim]: a decode step streams each head's rows in
/// order. Int8 has its scales apart, f32 [layer][key or value][kv head][capacity].
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
  /// Tokens of the prompt that the first position began, as the decoder noted; 0 without one.
  std::int64_t prompt_length() const noexcept { return prompt_length_; }
  void set_prompt_length(std::int64_t n) noexcept { prompt_length_ = n; }
  KvType type() const noexcept { return type_; }
  const Shape& shape() const noexcept { return shape_; }
  std::size_t size_bytes() const noexcept {
    return f32_.size_bytes() + bf16_.size_bytes() + int8_.size_bytes() + scales_.size_bytes();
  }

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
  kernels::Int8Heads keys_int8(std::int64_t layer, std::int64_t n) const;
  kernels::Int8Heads values_int8(std::int64_t layer, std::int64_t n) const;

 private:
  /// First row of head 0's keys (which 0) or values (1) of a layer.
  std::int64_t first_row(std::int64_t layer, std::int64_t which) const noexcept;
  /// head_dim elements a row.
  std::int64_t offset(std::int64_t layer, std::int64_t which) const noexcept;
  kernels::Int8Heads int8_heads(std::int64_t layer, std::int64_t which, std::int64_t n) const;

  Shape shape_;
  KvType type_;
  std::int64_t capacity_;
  std::int64_t length_ = 0;
  std::int64_t prompt_length_ = 0;
  AlignedBuffer<float> f32_;
  AlignedBuffer<bf16_t> bf16_;
  AlignedBuffer<std::int8_t> int8_;
  AlignedBuffer<float> scales_;  // of int8_'s rows
};

}  // namespace reelm::llm
