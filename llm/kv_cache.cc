#include "llm/kv_cache.h"

#include <cstring>

#include "core/checked.h"
#include "core/throw.h"
#include "kernels/convert.h"
#include "kernels/quantize.h"

namespace reelm::llm {

namespace {

std::int64_t elements(const KvCache::Shape& shape, std::int64_t positions) {
  const char* what = "KV cache";
  std::int64_t n = checked_mul(shape.num_layers, shape.num_key_value_heads, what);
  n = checked_mul(n, shape.head_dim, what);
  n = checked_mul(n, std::int64_t{2}, what);
  return checked_mul(n, positions, what);
}

// Of so many elements, the scales of their rows included.
std::int64_t bytes_of(std::int64_t elements, std::int64_t head_dim, KvType type) {
  const char* what = "KV cache";
  switch (type) {
    case KvType::kF32:
      return checked_mul(elements, std::int64_t{4}, what);
    case KvType::kBF16:
      return checked_mul(elements, std::int64_t{2}, what);
    case KvType::kInt8:
      break;
  }
  // 4 bytes of scale a row, at most as many as 4 an element.
  (void)checked_mul(elements, std::int64_t{5}, what);
  return head_dim == 0 ? 0 : elements + elements / head_dim * 4;
}

template <typename T>
TensorView<const T> head_major(const T* data, std::int64_t n, const KvCache::Shape& shape,
                               std::int64_t capacity) {
  return {data,
          {n, shape.num_key_value_heads, shape.head_dim},
          {shape.head_dim, capacity * shape.head_dim, 1}};
}

}  // namespace

const char* kv_type_name(KvType type) noexcept {
  switch (type) {
    case KvType::kF32:
      return "f32";
    case KvType::kBF16:
      return "bf16";
    case KvType::kInt8:
      return "int8";
  }
  return "?";
}

std::optional<KvType> parse_kv_type(const std::string& name) {
  if (name == "auto") return std::nullopt;
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    if (name == kv_type_name(type)) return type;
  }
  throw_error(ErrorCode::kInvalidArgument,
              "the KV cache's type is '{}', expected auto, f32, bf16 or int8", name);
}

std::int64_t KvCache::Shape::bytes_per_position(KvType type) const {
  return bytes_of(elements(*this, 1), head_dim, type);
}

KvCache::KvCache(const Shape& shape, KvType type, std::int64_t capacity)
    : shape_(shape), type_(type), capacity_(capacity) {
  REELM_CHECK(capacity >= 0);
  const std::int64_t n = elements(shape, capacity);
  (void)bytes_of(n, shape.head_dim, type);
  if (type == KvType::kF32) {
    f32_ = AlignedBuffer<float>(static_cast<std::size_t>(n));
  } else if (type == KvType::kBF16) {
    bf16_ = AlignedBuffer<bf16_t>(static_cast<std::size_t>(n));
  } else {
    int8_ = AlignedBuffer<std::int8_t>(static_cast<std::size_t>(n));
    scales_ = AlignedBuffer<float>(static_cast<std::size_t>(first_row(shape.num_layers, 0)));
  }
}

std::int64_t KvCache::first_row(std::int64_t layer, std::int64_t which) const noexcept {
  return (layer * 2 + which) * shape_.num_key_value_heads * capacity_;
}
std::int64_t KvCache::offset(std::int64_t layer, std::int64_t which) const noexcept {
  return first_row(layer, which) * shape_.head_dim;
}

void KvCache::write(std::int64_t layer, TensorView<const float> keys,
                    TensorView<const float> values) {
  const std::int64_t n = keys.size(0);
  if (n > capacity_ - length_) {
    throw_error(ErrorCode::kLimit,
                "the KV cache is full: {} positions of {} are filled, {} more came", length_,
                capacity_, n);
  }
  const std::int64_t d = shape_.head_dim;
  for (std::int64_t which = 0; which < 2; ++which) {
    const TensorView<const float>& from = which == 0 ? keys : values;
    for (std::int64_t head = 0; head < shape_.num_key_value_heads; ++head) {
      const std::int64_t first = first_row(layer, which) + head * capacity_ + length_;
      if (type_ == KvType::kInt8) {
        kernels::quantize_rows({from.data() + head * from.stride(1), {n, d}, {from.stride(0), 1}},
                               {int8_.data() + first * d, {n, d}}, scales_.data() + first);
        continue;
      }
      std::int64_t to = first * d;
      for (std::int64_t i = 0; i < n; ++i, to += d) {
        const float* row = from.row(i) + head * from.stride(1);
        if (type_ == KvType::kF32) {
          std::memcpy(f32_.data() + to, row, static_cast<std::size_t>(d) * sizeof(float));
        } else {
          kernels::convert(row, bf16_.data() + to, d);
        }
      }
    }
  }
}

void KvCache::advance(std::int64_t n) {
  REELM_CHECK(n >= 0 && n <= capacity_ - length_);
  length_ += n;
}

void KvCache::truncate(std::int64_t length) {
  REELM_CHECK(length >= 0 && length <= length_);
  length_ = length;
  if (length == 0) prompt_length_ = 0;
}

TensorView<const float> KvCache::keys_f32(std::int64_t layer, std::int64_t n) const {
  return head_major(f32_.data() + offset(layer, 0), n, shape_, capacity_);
}
TensorView<const float> KvCache::values_f32(std::int64_t layer, std::int64_t n) const {
  return head_major(f32_.data() + offset(layer, 1), n, shape_, capacity_);
}
TensorView<const bf16_t> KvCache::keys_bf16(std::int64_t layer, std::int64_t n) const {
  return head_major(bf16_.data() + offset(layer, 0), n, shape_, capacity_);
}
TensorView<const bf16_t> KvCache::values_bf16(std::int64_t layer, std::int64_t n) const {
  return head_major(bf16_.data() + offset(layer, 1), n, shape_, capacity_);
}
kernels::Int8Heads KvCache::int8_heads(std::int64_t layer, std::int64_t which,
                                       std::int64_t n) const {
  return {
      head_major(int8_.data() + offset(layer, which), n, shape_, capacity_),
      {scales_.data() + first_row(layer, which), {n, shape_.num_key_value_heads}, {1, capacity_}}};
}
kernels::Int8Heads KvCache::keys_int8(std::int64_t layer, std::int64_t n) const {
  return int8_heads(layer, 0, n);
}
kernels::Int8Heads KvCache::values_int8(std::int64_t layer, std::int64_t n) const {
  return int8_heads(layer, 1, n);
}

}  // namespace reelm::llm
