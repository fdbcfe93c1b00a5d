#include "bench/ladder/cache.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/convert.h"

namespace reelm::bench {

namespace {

void copy_row(const float* from, float* to, std::int64_t n) { std::copy_n(from, n, to); }
void copy_row(const float* from, bf16_t* to, std::int64_t n) { kernels::convert(from, to, n); }

template <typename T>
class GrownCache final : public LadderCache {
 public:
  GrownCache(const llm::KvCache::Shape& shape, Counters& counters)
      : shape_(shape), counters_(counters), layers_(static_cast<std::size_t>(shape.num_layers)) {}

  void append(std::int64_t layer, TensorView<const float> keys,
              TensorView<const float> values) override {
    auto& [old_keys, old_values] = layers_[static_cast<std::size_t>(layer)];
    concatenate(old_keys, keys);
    concatenate(old_values, values);
  }
  void advance(std::int64_t n) override { length_ += n; }
  void clear() override {
    for (auto& layer : layers_) layer = {};
    length_ = 0;
  }
  std::int64_t length() const override { return length_; }
  LayerKv view(std::int64_t layer, std::int64_t n) const override {
    const auto& [keys, values] = layers_[static_cast<std::size_t>(layer)];
    const auto rows = [&](const AlignedBuffer<T>& buffer) {
      REELM_CHECK(n * row_elements() <= static_cast<std::int64_t>(buffer.size()));
      return TensorView<const T>(buffer.data(), {n, shape_.num_key_value_heads, shape_.head_dim});
    };
    return KvView<T>{rows(keys), rows(values)};
  }

 private:
  std::int64_t row_elements() const { return shape_.num_key_value_heads * shape_.head_dim; }

  void concatenate(AlignedBuffer<T>& held, TensorView<const float> rows) {
    const auto old = static_cast<std::int64_t>(held.size());
    AlignedBuffer<T> all(held.size() + static_cast<std::size_t>(rows.size(0) * row_elements()));
    ++counters_.allocations;
    std::copy_n(held.data(), old, all.data());
    counters_.cache_bytes_copied += static_cast<std::int64_t>(held.size_bytes());
    T* to = all.data() + old;
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      for (std::int64_t h = 0; h < shape_.num_key_value_heads; ++h, to += shape_.head_dim) {
        copy_row(rows.row(i) + h * rows.stride(1), to, shape_.head_dim);
      }
    }
    held = std::move(all);
  }

  const llm::KvCache::Shape shape_;
  Counters& counters_;
  std::vector<std::pair<AlignedBuffer<T>, AlignedBuffer<T>>> layers_;  // [n, kv_heads, head_dim]
  std::int64_t length_ = 0;
};

class FixedCache final : public LadderCache {
 public:
  FixedCache(const llm::KvCache::Shape& shape, llm::KvType type, std::int64_t capacity)
      : cache_(shape, type, capacity) {
    // What is masked is multiplied all the same, and a NaN times 0 is one.
    const std::vector<float> zeros(static_cast<std::size_t>(shape.head_dim));
    const TensorView<const float> rows(
        zeros.data(), {capacity, shape.num_key_value_heads, shape.head_dim}, {0, 0, 1});
    for (std::int64_t layer = 0; layer < shape.num_layers; ++layer) cache_.write(layer, rows, rows);
  }

  void append(std::int64_t layer, TensorView<const float> keys,
              TensorView<const float> values) override {
    cache_.write(layer, keys, values);
  }
  void advance(std::int64_t n) override { cache_.advance(n); }
  void clear() override { cache_.truncate(0); }
  std::int64_t length() const override { return cache_.length(); }
  LayerKv view(std::int64_t layer, std::int64_t n) const override {
    if (cache_.type() == llm::KvType::kF32) {
      return KvView<float>{cache_.keys_f32(layer, n), cache_.values_f32(layer, n)};
    }
    return KvView<bf16_t>{cache_.keys_bf16(layer, n), cache_.values_bf16(layer, n)};
  }

 private:
  llm::KvCache cache_;
};

}  // namespace

std::unique_ptr<LadderCache> make_grown_cache(const llm::KvCache::Shape& shape, llm::KvType type,
                                              Counters& counters) {
  REELM_CHECK(type != llm::KvType::kInt8);
  if (type == llm::KvType::kF32) return std::make_unique<GrownCache<float>>(shape, counters);
  return std::make_unique<GrownCache<bf16_t>>(shape, counters);
}

std::unique_ptr<LadderCache> make_fixed_cache(const llm::KvCache::Shape& shape, llm::KvType type,
                                              std::int64_t capacity) {
  REELM_CHECK(type != llm::KvType::kInt8);
  return std::make_unique<FixedCache>(shape, type, capacity);
}

}  // namespace reelm::bench
