// What decoding fetches ahead of its use.
#pragma once

#include "../simd/attention.h"

namespace reelm::kernels {

template <int kType>
inline constexpr int64_t kElementBytes = kv_element_bytes(kType);

/// Bytes that lie in a row and will be needed soon; fetched line by line.
struct Ahead {
  const char* next = nullptr;
  const char* end = nullptr;

  template <class V>
  void fetch(int64_t lines) {
    for (int64_t i = 0; i < lines && next < end; ++i, next += 64) V::prefetch(next);
  }
};

/// Rows of keys [key, key + n) of a kv head, or nothing when rows do not lie side by side: then
/// only the layout of the KV cache is worth fetching for.
template <int kType>
inline Ahead rows_ahead(const KvArgs& kv, int64_t kv_head, int64_t key, int64_t n, int64_t d) {
  if (n <= 0 || kv.row != d) return {};
  const char* first =
      static_cast<const char*>(kv.data) + row_offset(kv, kv_head, key) * kElementBytes<kType>;
  return {first, first + n * d * kElementBytes<kType>};
}

}  // namespace reelm::kernels
