#include "llm/kv_cache.h"

#include <cstring>

#include "core/checked.h"
#include "core/throw.h"
#include "kernels/convert.h"

namespace reelm::llm {

namespace {

std::int64_t elements(const KvCache::Shape& shape, std::int64_t positions) {
  const char* what = "KV cache";
  std::int64_t n = checked_mul(shape.num_layers, shape.num_key_value_heads, what);
  n = checked_mul(n, shape.head_dim, what);
  n = checked_mul(n, std::int64_t{2}, what);
  return checked_mul(n, positions, what);
}

std::int64_t element_size(KvType type) { return type == KvType::kF32 ? 4 : 2; }

template <typename T>
TensorView<const T> head_major(const T* data, std::int64_t n, const KvCache::Shape& shape,
                               std::int64_t capacity) {
  return {data,
          {n, shape.num_key_value_heads, shape.head_dim},
          {shape.head_dim, capacity * shape.head_dim, 1}};
}

}  // namespace

std::int64_t KvCache::Shape::bytes_per_position(KvType type) const {
  return checked_mul(elements(*this, 1), element_size(type), "KV cache");
}

KvCache::KvCache(const Shape& shape, KvType type, std::int64_t capacity)
    : shape_(shape), type_(type), capacity_(capacity) {
  REELM_CHECK(capacity >= 0);
  const std::int64_t n = elements(shape, capacity);
  (void)checked_mul(n, element_size(type), "KV cache");
  if (type == KvType::kF32) {
    f32_ = AlignedBuffer<float>(static_cast<std::size_t>(n));
  } else {
    bf16_ = AlignedBuffer<bf16_t>(static_cast<std::size_t>(n));
  }
}

std::int64_t KvCache::offset(std::int64_t layer, std::int64_t which) const noexcept {
  return (layer * 2 + which) * shape_.num_key_value_heads * capacity_ * shape_.head_dim;
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
      std::int64_t to = offset(layer, which) + (head * capacity_ + length_) * d;
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

}  // namespace reelm::llm
