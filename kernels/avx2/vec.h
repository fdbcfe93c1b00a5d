// The registers of AVX2 + FMA + F16C. The comments say what every instruction set's Vec provides.
#pragma once

#include <immintrin.h>
#include <stdint.h>

#include "../simd/transpose.h"

namespace reelm::kernels::avx2 {

struct Vec {
  using F = __m256;   // kWidth floats
  using I = __m256i;  // kWidth 32-bit integers
  // Sums of integers over a loop. A type of its own: carried round a loop as __m256i, which is four
  // 64-bit numbers, GCC 12 stores each sum to the stack in every turn.
  typedef int32_t S __attribute__((vector_size(32)));
  static constexpr int kIsa = 1;
  static constexpr int kWidth = 8;
  static constexpr bool kHasDot = false;   // a dot product of bf16 pairs
  static constexpr bool kHasWords = true;  // products of 16-bit integers, below
  // The micro-kernel: kRowTile x kStrip registers of sums. 12 of 16 registers hold sums, 2 a row of
  // weights, 1 an activation.
  static constexpr int kRowTile = 6;
  static constexpr int kStrip = 2;
  // Attention's: kTallTile divides 16 (rows are keys of a tile, or elements of a padded head), and
  // its columns are a block's, a multiple of 8.
  static constexpr int kTallTile = 4;
  static constexpr int kTallStrip = 3;
  static constexpr int64_t kAttentionColumns = 48;
  // Registers of sums per row when only 1, 2 or 3 rows stream the weights: at least 8 in flight
  // hide the 4 cycles of a fused multiply-add at two a cycle.
  static constexpr int strip_for_rows(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : kStrip; }
  // Those of int8 weights. A narrower strip reads rows of 256 bytes in jumps, and memory gives 16
  // to 22 GB/s instead of 24 to 30 (2 rows, 2 Zen 3 cores): more than the sums that do not stay in
  // registers cost.
  static constexpr int quant_strip_for_rows(int rows) { return rows <= 3 ? 8 : 4; }

  static F zero() { return _mm256_setzero_ps(); }
  static F set1(float x) { return _mm256_set1_ps(x); }
  static F load(const float* p) { return _mm256_loadu_ps(p); }
  static void store(float* p, F v) { _mm256_storeu_ps(p, v); }
  /// The first n lanes, 0 < n < kWidth; the others are zero and not touched in memory.
  static F load_n(const float* p, int64_t n) { return _mm256_maskload_ps(p, mask(n)); }
  static void store_n(float* p, F v, int64_t n) { _mm256_maskstore_ps(p, mask(n), v); }
  static F first_n(F v, int64_t n) { return _mm256_and_ps(v, _mm256_castsi256_ps(mask(n))); }

  static F add(F a, F b) { return _mm256_add_ps(a, b); }
  static F sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static F mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static F div(F a, F b) { return _mm256_div_ps(a, b); }
  /// a * b + c.
  static F fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  /// Of a NaN and a number: b.
  static F max(F a, F b) { return _mm256_max_ps(a, b); }
  static F min(F a, F b) { return _mm256_min_ps(a, b); }
  static F abs(F a) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a); }
  /// |a| with b's sign; a is not negative.
  static F copysign(F a, F b) { return _mm256_or_ps(a, _mm256_and_ps(_mm256_set1_ps(-0.0f), b)); }
  /// To the nearest integer, ties to even.
  static F round(F a) { return _mm256_round_ps(a, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC); }
  /// 2^n for integers n in [-126, 127].
  static F pow2(F n) {
    const I biased = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
    return _mm256_castsi256_ps(_mm256_slli_epi32(biased, 23));
  }
  /// a < b ? 0 : v, lane by lane.
  static F zero_where_less(F v, F a, F b) {
    return _mm256_andnot_ps(_mm256_cmp_ps(a, b, _CMP_LT_OQ), v);
  }
  /// a < b ? yes : no.
  static F select_less(F a, F b, F yes, F no) {
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
  }
  static float reduce_add(F v) {
    __m128 x = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
  }
  static float reduce_max(F v) {
    __m128 x = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    x = _mm_max_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_max_ss(x, _mm_movehdup_ps(x)));
  }

  static F load_bf16(const uint16_t* p) {
    const I wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
  }
  /// Rounds to nearest even; NaN stays NaN: the very bits of to_bf16 in core/dtype.h.
  static void store_bf16(uint16_t* p, F v) {
    const I high = _mm256_srli_epi32(bf16_bits(v), 16);
    const __m128i packed =
        _mm_packus_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), packed);
  }
  /// The value of the nearest bf16.
  static F round_bf16(F v) {
    return _mm256_castsi256_ps(_mm256_and_si256(bf16_bits(v), _mm256_set1_epi32(-65536)));
  }
  /// The same for numbers and the NaN that arithmetic makes, in half the instructions.
  static F round_bf16_number(F v) { return pair_second(rounded_bits(v)); }
  static F load_f16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }

  /// kWidth int8 as floats.
  static F load_i8(const int8_t* p) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(p));
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(bytes));
  }
  /// 16-bit words: 2 * kWidth of them, loaded, and widened from int8.
  static I load_words(const int16_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const I*>(p));
  }
  static I load_i8_words(const void* p) {
    return _mm256_cvtepi8_epi16(_mm_loadu_si128(static_cast<const __m128i*>(p)));
  }
  /// kWidth pairs (a[i], b[i]) of int8 as words.
  static I load_i8_pairs(const void* a, const void* b) {
    return _mm256_cvtepi8_epi16(_mm_unpacklo_epi8(_mm_loadl_epi64(static_cast<const __m128i*>(a)),
                                                  _mm_loadl_epi64(static_cast<const __m128i*>(b))));
  }
  /// kWidth words, rounded to nearest even.
  static void store_i16(int16_t* p, F v) {
    const I wide = _mm256_cvtps_epi32(v);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1)));
  }
  /// to[i] = factor * the sum of the i-th's 32-bit integers.
  static void store_word_sums4(float* to, float factor, I a, I b, I c, I d) {
    const I pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
    const __m128i sums =
        _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256(pairs, 1));
    _mm_storeu_ps(to, _mm_mul_ps(_mm_cvtepi32_ps(sums), _mm_set1_ps(factor)));
  }
  /// to[i] = reduce_add of the i-th.
  static void store_sums4(float* to, F a, F b, F c, F d) {
    const F pairs = _mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
    _mm_storeu_ps(to, _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps(pairs, 1)));
  }

  /// kWidth pairs of bf16, and the first and second of each pair as floats.
  static I load_pairs(const uint32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const I*>(p));
  }
  static F pair_first(I v) { return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16)); }
  static F pair_second(I v) {
    return _mm256_castsi256_ps(_mm256_and_si256(v, _mm256_set1_epi32(-65536)));
  }
  static I set1_pair(uint32_t v) { return _mm256_set1_epi32(static_cast<int>(v)); }
  /// sum + first * first + second * second; only where kHasDot.
  static F dot_pairs(F sum, I, I) { return sum; }

  static constexpr bool kHasDot8 = false;  // a dot product of unsigned with signed bytes
  static I load_i(const void* p) { return _mm256_loadu_si256(static_cast<const I*>(p)); }
  static void store_i(void* p, I v) { _mm256_storeu_si256(static_cast<I*>(p), v); }
  static I set1_i(int32_t x) { return _mm256_set1_epi32(x); }
  static I add_i(I a, I b) { return _mm256_add_epi32(a, b); }
  static S zero_s() { return S{}; }
  static I integers(S v) { return reinterpret_cast<I>(v); }
  static S add16_s(S a, I b) { return reinterpret_cast<S>(add16(reinterpret_cast<I>(a), b)); }
  static S add_s(S a, I b) { return a + reinterpret_cast<S>(b); }
  static F to_float(S v) { return __builtin_convertvector(v, F); }
  /// kWidth bytes as integers 0..255.
  static I load_u8(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  /// Whole numbers within -127..127 as bytes. Of NaN and anything else: any byte.
  static void store_i8(int8_t* p, F v) {
    const I wide = _mm256_cvtps_epi32(v);
    const __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm_packs_epi16(half, half));
  }
  /// The even- and the odd-numbered bytes as unsigned 16-bit numbers.
  static I even_bytes(I v) { return _mm256_and_si256(v, _mm256_set1_epi32(0x00ff00ff)); }
  static I odd_bytes(I v) { return _mm256_srli_epi16(v, 8); }
  /// The low and the high halves of all bytes.
  static I low_halves(I v) { return _mm256_and_si256(v, _mm256_set1_epi32(0x0f0f0f0f)); }
  static I high_halves(I v) { return low_halves(_mm256_srli_epi16(v, 4)); }
  /// Numbers 0..255 in both 16-bit halves of their lanes; in all four bytes.
  static I both_halves(I v) { return _mm256_or_si256(v, _mm256_slli_epi32(v, 16)); }
  static I all_bytes(I v) { return both_halves(_mm256_or_si256(v, _mm256_slli_epi32(v, 8))); }
  /// 16-bit numbers: lane by lane; and neighbours multiplied and added into 32 bits.
  static I add16(I a, I b) { return _mm256_add_epi16(a, b); }
  static I mul16(I a, I b) { return _mm256_mullo_epi16(a, b); }
  static I madd16(I a, I b) { return _mm256_madd_epi16(a, b); }
  /// Unsigned bytes times signed ones, neighbours added into 16 bits (which they must fit).
  static I madd8(I u, I s) { return _mm256_maddubs_epi16(u, s); }
  /// sum + four products of unsigned with signed bytes; only where kHasDot8.
  static S dot8(S sum, I, I) { return sum; }
  /// 32-bit products; only where kHasDot8.
  static I mul_s(S a, I b) { return _mm256_mullo_epi32(reinterpret_cast<I>(a), b); }

  // always_inline: GCC 12 takes a call of it for one without effects, and dropped those in
  // functions that are always inlined themselves (add_products of simd/gemm_quant.h).
  [[gnu::always_inline]] static void prefetch(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T0);
  }
  /// Into the second cache.
  [[gnu::always_inline]] static void prefetch_far(const void* p) {
    _mm_prefetch(static_cast<const char*>(p), _MM_HINT_T1);
  }
  /// Eight rows of eight 32-bit words become columns: to[j * to_stride + i] = rows[i][j], counted
  /// in words.
  static void transpose8(const void* const rows[8], void* to, int64_t to_stride) {
    transpose8_avx(rows, to, to_stride);
  }

 private:
  static I mask(int64_t n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                              _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  // The rounded value in the upper half of each lane; the lower half is left over.
  static I bf16_bits(F v) {
    const I quiet = _mm256_or_si256(_mm256_castps_si256(v), _mm256_set1_epi32(0x400000));
    const I nan = _mm256_castps_si256(_mm256_cmp_ps(v, v, _CMP_UNORD_Q));
    return _mm256_blendv_epi8(rounded_bits(v), quiet, nan);
  }
  // Likewise, but a NaN whose low bits are all set may become a number.
  static I rounded_bits(F v) {
    const I u = _mm256_castps_si256(v);
    const I odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), _mm256_set1_epi32(1));
    return _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
  }
};

}  // namespace reelm::kernels::avx2
