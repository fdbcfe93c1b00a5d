// Keys and values of the ladder's decoder: concatenated anew at every step, or written in place.
#pragma once

#include <cstdint>
#include <memory>
#include <variant>

#include "bench/ladder/switches.h"
#include "llm/kv_cache.h"

namespace reelm::bench {

/// [n, kv_heads, head_dim] of one layer.
template <typename T>
struct KvView {
  TensorView<const T> keys;
  TensorView<const T> values;
};
using LayerKv = std::variant<KvView<float>, KvView<bf16_t>>;

/// One sequence. A forward pass appends to every layer, then advances.
class LadderCache {
 public:
  virtual ~LadderCache() = default;
  /// Keys and values [n, kv_heads, head_dim], any stride of the first two, behind those of the
  /// layer.
  virtual void append(std::int64_t layer, TensorView<const float> keys,
                      TensorView<const float> values) = 0;
  /// Counts n positions, appended to every layer, as filled.
  virtual void advance(std::int64_t n) = 0;
  /// Forgets all.
  virtual void clear() = 0;
  virtual std::int64_t length() const = 0;
  /// The first n positions of a layer: at most length() and what was appended since, or, of the
  /// fixed cache, the whole room. What was never filled is 0, or what an earlier sequence left.
  virtual LayerKv view(std::int64_t layer, std::int64_t n) const = 0;
};

/// As torch.cat: every append is a new buffer that the old rows are copied to. `type` is kF32 or
/// kBF16.
std::unique_ptr<LadderCache> make_grown_cache(const llm::KvCache::Shape& shape, llm::KvType type,
                                              Counters& counters);
/// The decoder's own KvCache, filled with zeros. Same types.
std::unique_ptr<LadderCache> make_fixed_cache(const llm::KvCache::Shape& shape, llm::KvType type,
                                              std::int64_t capacity);

}  // namespace reelm::bench
