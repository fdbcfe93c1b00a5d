// AVX-512 F, BW, DQ, VL.
#include <immintrin.h>

#include "preprocess/vector/loops_impl.h"

namespace reelm::preprocess::vector {
namespace {

struct Avx512 {
  static constexpr int kLanes = 16;
  using Float = __m512;
  using Int = __m512i;

  static Float broadcast(float x) { return _mm512_set1_ps(x); }
  static Int broadcast(std::int32_t x) { return _mm512_set1_epi32(x); }
  static Float load(const float* p) { return _mm512_loadu_ps(p); }
  static Int load(const std::int32_t* p) { return _mm512_loadu_si512(p); }
  static Float multiply(Float a, Float b) { return _mm512_mul_ps(a, b); }
  static Float add(Float a, Float b) { return _mm512_add_ps(a, b); }
  static Float multiply_add(Float a, Float b, Float c) { return _mm512_fmadd_ps(a, b, c); }
  static Int multiply16_add(Int a, Int b, Int c) {
    return _mm512_add_epi32(_mm512_madd_epi16(a, b), c);  // see avx2.cc
  }
  static Int multiply32_add(Int a, Int b, Int c) {
    return _mm512_add_epi32(_mm512_mullo_epi32(a, b), c);
  }
  static Int shift_clamp(Int a, int shift) {
    const Int x = _mm512_sra_epi32(a, _mm_cvtsi32_si128(shift));
    return _mm512_min_epi32(_mm512_max_epi32(x, _mm512_setzero_si512()), _mm512_set1_epi32(255));
  }
  static Int round_clamp(Float a) {
    const Float x = _mm512_min_ps(_mm512_max_ps(a, _mm512_setzero_ps()), _mm512_set1_ps(255.0f));
    return _mm512_cvtps_epi32(x);
  }

  static void transpose(const Float* in, float* out, std::int64_t stride) {
    Float a[16], b[16];
    for (int i = 0; i < 8; ++i) {
      a[2 * i] = _mm512_unpacklo_ps(in[2 * i], in[2 * i + 1]);
      a[2 * i + 1] = _mm512_unpackhi_ps(in[2 * i], in[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i) {
      b[4 * i] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0x44);
      b[4 * i + 1] = _mm512_shuffle_ps(a[4 * i], a[4 * i + 2], 0xee);
      b[4 * i + 2] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0x44);
      b[4 * i + 3] = _mm512_shuffle_ps(a[4 * i + 1], a[4 * i + 3], 0xee);
    }
    // b[4*g + i], quarter q: values 4*g..4*g+3 of row 4*q + i. Gather the groups of each row.
    for (int i = 0; i < 4; ++i) {
      const Float g01_q02 = _mm512_shuffle_f32x4(b[i], b[4 + i], 0x88);
      const Float g01_q13 = _mm512_shuffle_f32x4(b[i], b[4 + i], 0xdd);
      const Float g23_q02 = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0x88);
      const Float g23_q13 = _mm512_shuffle_f32x4(b[8 + i], b[12 + i], 0xdd);
      _mm512_storeu_ps(out + i * stride, _mm512_shuffle_f32x4(g01_q02, g23_q02, 0x88));
      _mm512_storeu_ps(out + (4 + i) * stride, _mm512_shuffle_f32x4(g01_q13, g23_q13, 0x88));
      _mm512_storeu_ps(out + (8 + i) * stride, _mm512_shuffle_f32x4(g01_q02, g23_q02, 0xdd));
      _mm512_storeu_ps(out + (12 + i) * stride, _mm512_shuffle_f32x4(g01_q13, g23_q13, 0xdd));
    }
  }
  static void transpose(const Int* in, std::int32_t* out, std::int64_t stride) {
    Float as_float[16];
    for (int i = 0; i < 16; ++i) as_float[i] = _mm512_castsi512_ps(in[i]);
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
  /// Sixteen rows of byte x + i.
  static void columns16(const std::uint8_t* const* rows, std::int64_t x, __m512i* out) {
    __m128i low[4], high[4];
    transpose_bytes(rows, x, low);
    transpose_bytes(rows + 8, x, high);
    for (int i = 0; i < 4; ++i) {
      out[2 * i] = _mm512_cvtepu8_epi32(_mm_unpacklo_epi64(low[i], high[i]));
      out[2 * i + 1] = _mm512_cvtepu8_epi32(_mm_unpackhi_epi64(low[i], high[i]));
    }
  }
  static void columns(const std::uint8_t* const* rows, std::int64_t x, std::int32_t* out) {
    __m512i v[8];
    columns16(rows, x, v);
    for (int i = 0; i < 8; ++i) _mm512_storeu_si512(out + i * kLanes, v[i]);
  }
  static void columns(const std::uint8_t* const* rows, std::int64_t x, float* out) {
    __m512i v[8];
    columns16(rows, x, v);
    for (int i = 0; i < 8; ++i) _mm512_storeu_ps(out + i * kLanes, _mm512_cvtepi32_ps(v[i]));
  }

  static void store_bytes(const Int* in, std::uint8_t* out) {
    for (int i = 0; i < 4; ++i) {  // already 0..255: truncation is exact
      _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 16 * i), _mm512_cvtepi32_epi8(in[i]));
    }
  }
};

}  // namespace

const Loops kAvx512Loops = {Avx512::kLanes, &horizontal<Avx512>, &vertical<Avx512>, &patchify_rows};

}  // namespace reelm::preprocess::vector
