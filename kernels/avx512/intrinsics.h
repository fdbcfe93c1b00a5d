// AVX-512 intrinsics: the compiler's, or SIMDe's portable C when REELM_EMULATE_AVX512 is defined,
// so that tests run the very same kernels on machines without AVX-512. SIMDe's native names would
// clash with the compiler's own header, hence the macros: REELM_MM512(add_ps) is _mm512_add_ps or
// simde_mm512_add_ps.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#ifndef REELM_EMULATE_AVX512

#define REELM_MM512(op) _mm512_##op
#ifndef REELM_AVX512_NAMESPACE  // avx512bf16/ names its own: nothing inline is shared by two -m
                                // sets
#define REELM_AVX512_NAMESPACE avx512
#endif
namespace reelm::kernels::REELM_AVX512_NAMESPACE {
using M512 = __m512;
using M512i = __m512i;
using M512bh = __m512bh;
typedef int32_t M512s __attribute__((vector_size(64)));  // see avx2/vec.h
inline M512s sums_of(M512i v) { return reinterpret_cast<M512s>(v); }
inline M512i integers_of(M512s v) { return reinterpret_cast<M512i>(v); }
inline __mmask16 first_lanes(int64_t n) { return static_cast<__mmask16>((1u << n) - 1u); }
}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE

#else

#include <simde/x86/avx512.h>

#define REELM_MM512(op) simde_mm512_##op
#ifndef REELM_AVX512_NAMESPACE
#define REELM_AVX512_NAMESPACE avx512_emulated
#endif
namespace reelm::kernels::REELM_AVX512_NAMESPACE {
using M512 = simde__m512;
using M512i = simde__m512i;
using M512bh = simde__m512bh;
using M512s = simde__m512i;
inline M512s sums_of(M512i v) { return v; }
inline M512i integers_of(M512s v) { return v; }
inline simde__mmask16 first_lanes(int64_t n) { return static_cast<simde__mmask16>((1u << n) - 1u); }
}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE

// What SIMDe 0.7.4 lacks, with memory touched only where the mask says.
static inline simde__m512 simde_mm512_maskz_loadu_ps(simde__mmask16 mask, const void* p) {
  float lanes[16] = {};
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) lanes[i] = static_cast<const float*>(p)[i];
  }
  return simde_mm512_loadu_ps(lanes);
}
static inline void simde_mm512_mask_storeu_ps(void* p, simde__mmask16 mask, simde__m512 v) {
  float lanes[16];
  simde_mm512_storeu_ps(lanes, v);
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) static_cast<float*>(p)[i] = lanes[i];
  }
}
static inline simde__m512i simde_mm512_cvtepu16_epi32(__m256i v) {
  uint16_t in[16];
  uint32_t out[16];
  __builtin_memcpy(in, &v, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = in[i];
  return simde_mm512_loadu_si512(out);
}
static inline __m256i simde_mm512_cvtepi32_epi16(simde__m512i v) {
  uint32_t in[16];
  uint16_t out[16];
  __builtin_memcpy(in, &v, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = static_cast<uint16_t>(in[i]);
  __m256i r;
  __builtin_memcpy(&r, out, sizeof(r));
  return r;
}
static inline simde__m512i simde_mm512_cvtepu8_epi32(__m128i v) {
  uint8_t in[16];
  uint32_t out[16];
  __builtin_memcpy(in, &v, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = in[i];
  return simde_mm512_loadu_si512(out);
}
static inline simde__m512 simde_mm512_cvtepi32_ps(simde__m512i v) {
  int32_t in[16];
  float out[16];
  __builtin_memcpy(in, &v, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = static_cast<float>(in[i]);
  return simde_mm512_loadu_ps(out);
}
static inline simde__m512i simde_mm512_cvtps_epi32(simde__m512 v) {
  float in[16];
  int32_t out[16];
  simde_mm512_storeu_ps(in, v);
  for (int i = 0; i < 16; ++i) {  // NaN and what does not fit become INT32_MIN
    out[i] = __builtin_fabsf(in[i]) < 2147483648.0f
                 ? static_cast<int32_t>(__builtin_nearbyintf(in[i]))
                 : INT32_MIN;
  }
  return simde_mm512_loadu_si512(out);
}
static inline simde__m512i simde_mm512_cvtepi8_epi32(__m128i v) {
  int8_t in[16];
  int32_t out[16];
  __builtin_memcpy(in, &v, sizeof(in));
  for (int i = 0; i < 16; ++i) out[i] = in[i];
  return simde_mm512_loadu_si512(out);
}
// Rounds to nearest even, flushes subnormals, keeps NaN: b's first.
static inline simde__m512i simde_mm512_cvtne2ps_pbh(simde__m512 a, simde__m512 b) {
  uint32_t in[32];
  uint16_t out[32];
  __builtin_memcpy(in, &b, sizeof(in) / 2);
  __builtin_memcpy(in + 16, &a, sizeof(in) / 2);
  for (int i = 0; i < 32; ++i) {
    const uint32_t magnitude = in[i] & 0x7fffffffu;
    const uint32_t rounded = magnitude > 0x7f800000u   ? in[i] | 0x400000u
                             : magnitude < 0x00800000u ? in[i] & 0x80000000u
                                                       : in[i] + 0x7fffu + (in[i] >> 16 & 1u);
    out[i] = static_cast<uint16_t>(rounded >> 16);
  }
  return simde_mm512_loadu_si512(out);
}
static inline simde__m512 simde_mm512_cvtph_ps(__m256i v) {
  float out[16];
  _mm256_storeu_ps(out, _mm256_cvtph_ps(_mm256_castsi256_si128(v)));
  _mm256_storeu_ps(out + 8, _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1)));
  return simde_mm512_loadu_ps(out);
}

#endif
