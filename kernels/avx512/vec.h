// The registers of AVX-512 F, BW, DQ, VL. What each member does is said in avx2/vec.h.
#pragma once

#include "../simd/transpose.h"
#include "intrinsics.h"

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

struct Vec {
  using F = M512;
  using I = M512i;
  using S = M512s;
  static constexpr int kIsa = 2;
  static constexpr int kWidth = 16;
  static constexpr bool kHasDot = false;
  static constexpr bool kHasWords = true;
  // 24 of 32 registers hold sums, 4 a row of a whole panel.
  static constexpr int kRowTile = 6;
  static constexpr int kStrip = 4;
  static constexpr int kTallTile = 8;
  static constexpr int kTallStrip = 3;
  static constexpr int64_t kAttentionColumns = 48;
  static constexpr int strip_for_rows(int) { return kStrip; }
  static constexpr int quant_strip_for_rows(int rows) { return strip_for_rows(rows); }

  static F zero() { return REELM_MM512(setzero_ps)(); }
  static F set1(float x) { return REELM_MM512(set1_ps)(x); }
  static F load(const float* p) { return REELM_MM512(loadu_ps)(p); }
  static void store(float* p, F v) { REELM_MM512(storeu_ps)(p, v); }
  static F load_n(const float* p, int64_t n) {
    return REELM_MM512(maskz_loadu_ps)(first_lanes(n), p);
  }
  static void store_n(float* p, F v, int64_t n) {
    REELM_MM512(mask_storeu_ps)(p, first_lanes(n), v);
  }
  static F first_n(F v, int64_t n) { return REELM_MM512(maskz_mov_ps)(first_lanes(n), v); }

  static F add(F a, F b) { return REELM_MM512(add_ps)(a, b); }
  static F sub(F a, F b) { return REELM_MM512(sub_ps)(a, b); }
  static F mul(F a, F b) { return REELM_MM512(mul_ps)(a, b); }
  static F div(F a, F b) { return REELM_MM512(div_ps)(a, b); }
  static F fma(F a, F b, F c) { return REELM_MM512(fmadd_ps)(a, b, c); }
  static F max(F a, F b) { return REELM_MM512(max_ps)(a, b); }
  static F min(F a, F b) { return REELM_MM512(min_ps)(a, b); }
  static F abs(F a) {
    return as_f(REELM_MM512(and_si512)(as_i(a), REELM_MM512(set1_epi32)(0x7fffffff)));
  }
  static F copysign(F a, F b) {
    const I sign = REELM_MM512(set1_epi32)(static_cast<int>(0x80000000u));
    return as_f(REELM_MM512(or_si512)(as_i(a), REELM_MM512(and_si512)(as_i(b), sign)));
  }
  static F round(F a) { return REELM_MM512(roundscale_ps)(a, _MM_FROUND_TO_NEAREST_INT); }
  static F pow2(F n) {
    const I biased =
        REELM_MM512(add_epi32)(REELM_MM512(cvtps_epi32)(n), REELM_MM512(set1_epi32)(127));
    return as_f(REELM_MM512(slli_epi32)(biased, 23));
  }
  /// p * 2^n for whole n, 0 where a < b, whatever p and n are there. Only here.
  static F pow2_times(F p, F n, F a, F b) {
    return REELM_MM512(maskz_scalef_ps)(REELM_MM512(cmp_ps_mask)(a, b, _CMP_NLT_UQ), p, n);
  }
  static F zero_where_less(F v, F a, F b) {
    return REELM_MM512(mask_mov_ps)(v, REELM_MM512(cmp_ps_mask)(a, b, _CMP_LT_OQ), zero());
  }
  static F select_less(F a, F b, F yes, F no) {
    return REELM_MM512(mask_mov_ps)(no, REELM_MM512(cmp_ps_mask)(a, b, _CMP_LT_OQ), yes);
  }
  static float reduce_add(F v) {
    const __m256 x = halves(v);
    __m128 y = _mm_add_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_add_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_add_ss(y, _mm_movehdup_ps(y)));
  }
  static float reduce_max(F v) {
    __m256 x = _mm256_max_ps(low(v), high(v));
    __m128 y = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    y = _mm_max_ps(y, _mm_movehl_ps(y, y));
    return _mm_cvtss_f32(_mm_max_ss(y, _mm_movehdup_ps(y)));
  }

  static F load_bf16(const uint16_t* p) {
    const I wide = REELM_MM512(cvtepu16_epi32)(load256(p));
    return as_f(REELM_MM512(slli_epi32)(wide, 16));
  }
  static void store_bf16(uint16_t* p, F v) {
    const I upper = REELM_MM512(srli_epi32)(bf16_bits(v), 16);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), REELM_MM512(cvtepi32_epi16)(upper));
  }
  static F round_bf16(F v) { return pair_second(bf16_bits(v)); }
  static F round_bf16_number(F v) { return pair_second(rounded_bits(v)); }
  static F load_f16(const uint16_t* p) { return REELM_MM512(cvtph_ps)(load256(p)); }

  static F load_i8(const int8_t* p) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    return REELM_MM512(cvtepi32_ps)(REELM_MM512(cvtepi8_epi32)(bytes));
  }
  static I load_words(const int16_t* p) { return REELM_MM512(loadu_si512)(p); }
  static I load_i8_words(const void* p) {
    return REELM_MM512(cvtepi8_epi16)(_mm256_loadu_si256(static_cast<const __m256i*>(p)));
  }
  static I load_i8_pairs(const void* a, const void* b) {
    const __m128i x = _mm_loadu_si128(static_cast<const __m128i*>(a));
    const __m128i y = _mm_loadu_si128(static_cast<const __m128i*>(b));
    return REELM_MM512(cvtepi8_epi16)(
        _mm256_set_m128i(_mm_unpackhi_epi8(x, y), _mm_unpacklo_epi8(x, y)));
  }
  static void store_i16(int16_t* p, F v) {
    const __m256i words = REELM_MM512(cvtepi32_epi16)(REELM_MM512(cvtps_epi32)(v));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), words);
  }
  static void store_word_sums4(float* to, float factor, I a, I b, I c, I d) {
    const __m256i ab = _mm256_hadd_epi32(halves_i(a), halves_i(b));
    const __m256i all = _mm256_hadd_epi32(ab, _mm256_hadd_epi32(halves_i(c), halves_i(d)));
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    _mm_storeu_ps(to, _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set1_ps(factor)));
  }
  static void store_sums4(float* to, F a, F b, F c, F d) {
    const __m256 ab = _mm256_hadd_ps(halves(a), halves(b));
    const __m256 sums = _mm256_hadd_ps(ab, _mm256_hadd_ps(halves(c), halves(d)));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(sums), _mm256_extractf128_ps(sums, 1)));
  }

  static I load_pairs(const uint32_t* p) { return REELM_MM512(loadu_si512)(p); }
  static F pair_first(I v) { return as_f(REELM_MM512(slli_epi32)(v, 16)); }
  static F pair_second(I v) {
    return as_f(REELM_MM512(and_si512)(v, REELM_MM512(set1_epi32)(-65536)));
  }
  /// Pairs (a, b) rounded to bf16, in the bits of floats; only where kHasDot.
  static F to_pairs(F a, F b) {
    const I upper = as_i(pair_second(bf16_bits(b)));
    return as_f(REELM_MM512(or_si512)(upper, REELM_MM512(srli_epi32)(bf16_bits(a), 16)));
  }
  static I set1_pair(uint32_t v) { return REELM_MM512(set1_epi32)(static_cast<int>(v)); }
  static F dot_pairs(F sum, I, I) { return sum; }

  static constexpr bool kHasDot8 = false;
  static I load_i(const void* p) { return REELM_MM512(loadu_si512)(p); }
  static void store_i(void* p, I v) { REELM_MM512(storeu_si512)(p, v); }
  static I set1_i(int32_t x) { return REELM_MM512(set1_epi32)(x); }
  static I add_i(I a, I b) { return REELM_MM512(add_epi32)(a, b); }
  static S zero_s() { return sums_of(REELM_MM512(set1_epi32)(0)); }
  static I integers(S v) { return integers_of(v); }
  static S add16_s(S a, I b) { return sums_of(add16(integers_of(a), b)); }
  static S add_s(S a, I b) { return sums_of(REELM_MM512(add_epi32)(integers_of(a), b)); }
  static F to_float(S v) { return REELM_MM512(cvtepi32_ps)(integers_of(v)); }
  static I load_u8(const uint8_t* p) {
    return REELM_MM512(cvtepu8_epi32)(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static void store_i8(int8_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p),
                     REELM_MM512(cvtsepi32_epi8)(REELM_MM512(cvtps_epi32)(v)));
  }
  static I even_bytes(I v) {
    return REELM_MM512(and_si512)(v, REELM_MM512(set1_epi32)(0x00ff00ff));
  }
  static I odd_bytes(I v) { return REELM_MM512(srli_epi16)(v, 8); }
  static I low_halves(I v) {
    return REELM_MM512(and_si512)(v, REELM_MM512(set1_epi32)(0x0f0f0f0f));
  }
  static I high_halves(I v) { return low_halves(REELM_MM512(srli_epi16)(v, 4)); }
  static I both_halves(I v) { return REELM_MM512(or_si512)(v, REELM_MM512(slli_epi32)(v, 16)); }
  static I all_bytes(I v) {
    return both_halves(REELM_MM512(or_si512)(v, REELM_MM512(slli_epi32)(v, 8)));
  }
  static I add16(I a, I b) { return REELM_MM512(add_epi16)(a, b); }
  static I mul16(I a, I b) { return REELM_MM512(mullo_epi16)(a, b); }
  static I madd16(I a, I b) { return REELM_MM512(madd_epi16)(a, b); }
  static I madd8(I u, I s) { return REELM_MM512(maddubs_epi16)(u, s); }
  static S dot8(S sum, I, I) { return sum; }
  static I mul_s(S a, I b) { return REELM_MM512(mullo_epi32)(integers_of(a), b); }

  // always_inline: GCC 12 takes a call of it for one without effects, and dropped those in
  // functions that are always inlined themselves (add_products of simd/gemm_quant.h).
  [[gnu::always_inline]] static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  [[gnu::always_inline]] static void prefetch_far(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
  }
  static void transpose8(const void* const rows[8], void* to, int64_t to_stride) {
    transpose8_avx(rows, to, to_stride);
  }

 private:
  static F as_f(I v) { return REELM_MM512(castsi512_ps)(v); }
  static I as_i(F v) { return REELM_MM512(castps_si512)(v); }
  static __m256i load256(const uint16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static __m256i halves_i(I v) {
    const F f = as_f(v);
    return _mm256_add_epi32(_mm256_castps_si256(low(f)), _mm256_castps_si256(high(f)));
  }
  static __m256 halves(F v) { return _mm256_add_ps(low(v), high(v)); }
  static __m256 low(F v) { return REELM_MM512(castps512_ps256)(v); }
  static __m256 high(F v) {
    return _mm256_castpd_ps(REELM_MM512(extractf64x4_pd)(REELM_MM512(castps_pd)(v), 1));
  }
  // Integer rounding rather than vcvtneps2bf16, which flushes subnormals: all sets store equal
  // bits.
  static I bf16_bits(F v) {
    const I quiet = REELM_MM512(or_si512)(as_i(v), REELM_MM512(set1_epi32)(0x400000));
    return REELM_MM512(mask_mov_epi32)(rounded_bits(v),
                                       REELM_MM512(cmp_ps_mask)(v, v, _CMP_UNORD_Q), quiet);
  }
  static I rounded_bits(F v) {
    const I u = as_i(v);
    const I odd =
        REELM_MM512(and_si512)(REELM_MM512(srli_epi32)(u, 16), REELM_MM512(set1_epi32)(1));
    return REELM_MM512(add_epi32)(u, REELM_MM512(add_epi32)(odd, REELM_MM512(set1_epi32)(0x7fff)));
  }
};

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
