// A decoder layer's way through its KV caches. Not installed.
#pragma once

#include <cstdint>
#include <span>

#include "llm/kv_cache.h"

namespace reelm::llm {

/// Writes keys and values [n, kv_heads, head_dim] of a layer to the caches their rows belong to, in
/// order: all n to one, or n / caches.size() to each. A span "llm.kv_write". Throws as
/// KvCache::write.
void write_kv(std::span<KvCache* const> caches, std::int64_t layer, TensorView<const float> keys,
              TensorView<const float> values);

/// Softmax attention of q [n, heads, head_dim] over the first n_k positions of a layer, with the
/// usual scale, into `out` of q's sizes. `type` is that of the weights
/// (kernels::attention_math).
void attend_cached(TensorView<const float> q, const KvCache& cache, std::int64_t layer,
                   std::int64_t n_k, TensorView<float> out, bool causal, kernels::ComputeType type);

}  // namespace reelm::llm
