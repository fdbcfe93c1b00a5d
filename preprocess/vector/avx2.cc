// AVX2 + FMA.
#include <immintrin.h>

#include "preprocess/vector/loops_impl.h"

namespace reelm::preprocess::vector {
namespace {

struct Avx2 {
  static constexpr int kLanes = 8;
  using Float = __m256;
  using Int = __m256i;

  static Float broadcast(float x) { return _mm256_set1_ps(x); }
  static Int broadcast(std::int32_t x) { return _mm256_set1_epi32(x); }
  static Float load(const float* p) { return _mm256_loadu_ps(p); }
  static Int load(const std::int32_t* p) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  }
  static Float multiply(Float a, Float b) { return _mm256_mul_ps(a, b); }
  static Float add(Float a, Float b) { return _mm256_add_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm256_fmadd_ps(a, b, c); }
  // a is 0..255: the upper 16 bits of each lane add nothing, and one vpmaddwd replaces the two
  // micro-operations of vpmulld.
  static Int multiply16_add(Int a, Int b, Int c) {
    return _mm256_add_epi32(_mm256_madd_epi16(a, b), c);
  }
  static Int multiply32_add(Int a, Int b, Int c) {
    return _mm256_add_epi32(_mm256_mullo_epi32(a, b), c);
  }
  static Int shift_clamp(Int a, int shift) {
    const Int x = _mm256_sra_epi32(a, _mm_cvtsi32_si128(shift));
    return _mm256_min_epi32(_mm256_max_epi32(x, _mm256_setzero_si256()), _mm256_set1_epi32(255));
  }
  static Int round_clamp(Float a) {
    const Float x = _mm256_min_ps(_mm256_max_ps(a, _mm256_setzero_ps()), _mm256_set1_ps(255.0f));
    return _mm256_cvtps_epi32(x);
  }

  static void transpose(const Float* in, float* out, std::int64_t stride) {
    Float a[8], b[8];
    for (int i = 0; i < 4; ++i) {
      a[2 * i] = _mm256_unpacklo_ps(in[2 * i], in[2 * i + 1]);
      a[2 * i + 1] = _mm256_unpackhi_ps(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      b[4 * i] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm256_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm256_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
      _mm256_storeu_ps(out + i * stride, _mm256_permute2f128_ps(b[i], b[i + 4], 0x20));
      _mm256_storeu_ps(out + (i + 4) * stride, _mm256_permute2f128_ps(b[i], b[i + 4], 0x31));
    }
  }
  static void transpose(const Int* in, std::int32_t* out, std::int64_t stride) {
    Float as_float[8];
    for (int i = 0; i < 8; ++i) as_float[i] = _mm256_castsi256_ps(in[i]);
    transpose(as_float, reinterpret_cast<float*>(out), stride);
  }

  /// Eight bytes of each of eight rows: byte j of all rows is half of out[j / 2].
  static void transpose_bytes(const std::uint8_t* const* rows, std::int64_t x, __m128i* out) {
    __m128i r[8], a[4], b[4];
    for (int i = 0; i < 8; ++i) {
      r[i] = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(rows[i] + x));
    }
    for (int i = 0; i < 4; ++i) a[i] = _mm_unpacklo_epi8(r[2 * i], r[2 * i + 1]);
    for (int i = 0; i < 2; ++i) {
      b[2 * i] = _mm_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
      b[2 * i + 1] = _mm_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
    }
    for (int i = 0; i < 2; ++i) {
      out[2 * i] = _mm_unpacklo_epi32(b[i], b[i + 2]);
      out[2 * i + 1] = _mm_unpackhi_epi32(b[i], b[i + 2]);
    }
  }
  static void columns(const std::uint8_t* const* rows, std::int64_t x, std::int32_t* out) {
    __m128i pair[4];
    transpose_bytes(rows, x, pair);
    for (int i = 0; i < 8; ++i) {
      const __m128i bytes = i % 2 == 0 ? pair[i / 2] : _mm_srli_si128(pair[i / 2], 8);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(out + i * kLanes),
                          _mm256_cvtepu8_epi32(bytes));
    }
  }
  static void columns(const std::uint8_t* const* rows, std::int64_t x, float* out) {
    __m128i pair[4];
    transpose_bytes(rows, x, pair);
    for (int i = 0; i < 8; ++i) {
      const __m128i bytes = i % 2 == 0 ? pair[i / 2] : _mm_srli_si128(pair[i / 2], 8);
      _mm256_storeu_ps(out + i * kLanes, _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(bytes)));
    }
  }

  static void store_bytes(const Int* in, std::uint8_t* out) {
    // The packs work within 128-bit halves: the permutation puts the groups of four back in order.
    const Int low = _mm256_packus_epi32(in[0], in[1]);
    const Int high = _mm256_packus_epi32(in[2], in[3]);
    const Int mixed = _mm256_packus_epi16(low, high);
    const Int order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(out), _mm256_permutevar8x32_epi32(mixed, order));
  }
};

}  // namespace

const Loops kAvx2Loops = {Avx2::kLanes, &horizontal<Avx2>, &vertical<Avx2>, &patchify_rows};

}  // namespace reelm::preprocess::vector
