#include "llm/cached_attention.h"

#include <cmath>

#include "core/trace.h"

namespace reelm::llm {

void write_kv(std::span<KvCache* const> caches, std::int64_t layer, TensorView<const float> keys,
              TensorView<const float> values) {
  TraceSpan span("llm.kv_write");
  const std::int64_t n = keys.size(0), heads = keys.size(1), d = keys.size(2);
  const std::int64_t rows = n / static_cast<std::int64_t>(caches.size());
  if (span.recorded()) {
    std::int64_t bytes = 2 * n * heads * d * 4;
    for (const KvCache* cache : caches) {
      bytes += rows * cache->shape().bytes_per_position(cache->type()) / cache->shape().num_layers;
    }
    span.tell({.shape = {{{"rows", n}, {"kv_heads", heads}, {"head_dim", d}}},
               .dtype = kv_type_name(caches.front()->type()),
               .bytes = bytes});
  }
  std::int64_t first = 0;
  for (KvCache* cache : caches) {
    const auto part = [&](const TensorView<const float>& of) {
      return TensorView<const float>(of.data() + first * of.stride(0), {rows, heads, d},
                                     {of.stride(0), of.stride(1), 1});
    };
    cache->write(layer, part(keys), part(values));
    first += rows;
  }
}

void attend_cached(TensorView<const float> q, const KvCache& cache, std::int64_t layer,
                   std::int64_t n_k, TensorView<float> out, bool causal,
                   kernels::ComputeType type) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(q.size(2)));
  const auto run = [&](const auto& keys, const auto& values) {
    kernels::attention(q, keys, values, out, scale, causal, kernels::attention_math(type));
  };
  switch (cache.type()) {
    case KvType::kF32:
      return run(cache.keys_f32(layer, n_k), cache.values_f32(layer, n_k));
    case KvType::kBF16:
      return run(cache.keys_bf16(layer, n_k), cache.values_bf16(layer, n_k));
    case KvType::kInt8:
      return run(cache.keys_int8(layer, n_k), cache.values_int8(layer, n_k));
  }
}

}  // namespace reelm::llm
