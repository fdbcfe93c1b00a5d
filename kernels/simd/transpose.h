// 8x8 transpose of 32-bit words with AVX, shared by the x86 folders. Internal linkage: each file
// has its own copy, compiled with its own flags.
#pragma once

#include <immintrin.h>
#include <stdint.h>

namespace reelm::kernels {
namespace {

inline void transpose8_avx(const void* const rows[8], void* to, int64_t to_stride) {
  __m256 r[8], t[8];
  for (int i = 0; i < 8; ++i) {
    r[i] = _mm256_castsi256_ps(_mm256_loadu_si256(static_cast<const __m256i*>(rows[i])));
  }
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    r[i] = _mm256_shuffle_ps(t[i], t[i + 2], 0x44);
    r[i + 1] = _mm256_shuffle_ps(t[i], t[i + 2], 0xee);
    r[i + 2] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0x44);
    r[i + 3] = _mm256_shuffle_ps(t[i + 1], t[i + 3], 0xee);
  }
  for (int i = 0; i < 4; ++i) {
    t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
    t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
  }
  for (int i = 0; i < 8; ++i) {
    char* row = static_cast<char*>(to) + i * to_stride * 4;
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(row), _mm256_castps_si256(t[i]));
  }
}

}  // namespace
}  // namespace reelm::kernels
