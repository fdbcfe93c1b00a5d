// The streaming read, for any vector type. Included by the folders of the instruction sets.
#pragma once

#include "loops.h"

namespace reelm::bench {

/// V: `kWidth` bytes a register, `Reg`, zero(), load(address), mix(a, b), store(address, reg).
template <class V, int kStreams, bool kPrefetch>
void read_streams(const char* data, int64_t bytes, int64_t ahead, void* sink) {
  const int64_t part = bytes / kStreams;
  typename V::Reg sums[kStreams];
#pragma GCC unroll 8
  for (int s = 0; s < kStreams; ++s) sums[s] = V::zero();
  for (int64_t i = 0; i < part; i += 128) {
#pragma GCC unroll 8
    for (int s = 0; s < kStreams; ++s) {
      const char* p = data + s * part + i;
      if constexpr (kPrefetch) {
        __builtin_prefetch(p + ahead, 0, 3);
        __builtin_prefetch(p + ahead + 64, 0, 3);
      }
#pragma GCC unroll 8
      for (int j = 0; j < 128; j += V::kWidth) sums[s] = V::mix(sums[s], V::load(p + j));
    }
  }
  for (int s = 1; s < kStreams; ++s) sums[0] = V::mix(sums[0], sums[s]);
  V::store(sink, sums[0]);
}

template <class V, int kStreams>
void read_memory(const char* data, int64_t bytes, int64_t ahead, void* sink) {
  if (ahead > 0) {
    read_streams<V, kStreams, true>(data, bytes, ahead, sink);
  } else {
    read_streams<V, kStreams, false>(data, bytes, 0, sink);
  }
}

}  // namespace reelm::bench
