// The product with weights in ggml's Q8_0 and Q4_0 blocks (table.h): as in gemm_quant.h, but 32
// inputs share a scale, of weights and of activations alike, so each 32 products are summed in
// integers and taken into f32 on their own:
//
//   y[r][c] += (sum over 32 of a[r][k] * (q[k][c] - 128)) * scale_w[c] * scale_a[r]
//
// In that order, whatever path a product takes: the bits are the same. The f32 sums of a group stay
// in registers where they fit.
#pragma once

#include "../simd/gemm_quant.h"

namespace reelm::kernels {

/// Of the s-th 32 values of a row, whose QuantTailBy32 lies at `tail`.
inline float scale_of_32(const char* tail, int64_t s) {
  float scale;
  __builtin_memcpy(&scale, tail + __builtin_offsetof(QuantTailBy32, scale) + s * 4, 4);
  return scale;
}
inline int32_t offset_of_32(const char* tail, int64_t s) {
  int32_t offset;
  __builtin_memcpy(&offset, tail + __builtin_offsetof(QuantTailBy32, offset) + s * 4, 4);
  return offset;
}

/// sums[M][64] (+)= one group, columns [0, C * W) from `sums`, `q` and `scale` on. q: [32][64][4],
/// scale: [4][64]. Activations of V's kind, by 32.
template <class V, int M, int C, bool kPrefetch>
inline void micro_q8_0(const char* a, int64_t lda, const uint8_t* q, const uint16_t* scale,
                       float* sums, bool init) {
  constexpr int64_t kValues = (V::kHasDot8 ? 1 : 2) * kQuantGroup;
  typename V::F total[M][C];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      total[r][j] = init ? V::zero() : V::load(sums + r * kPanelCols + j * V::kWidth);
    }
  }
#pragma GCC unroll 1
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    typename V::S sum[M][C];
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      const auto offset = V::set1_i(offset_of_32(a + r * lda + kValues, s));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) sum[r][j] = V::add_s(V::zero_s(), offset);
    }
    add_products<V, M, C, kPrefetch>(a, lda, q, s * (kQuantSub / 4), (s + 1) * (kQuantSub / 4),
                                     sum);
    typename V::F scale_w[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) scale_w[j] = V::load_f16(scale + s * kPanelCols + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      const auto scale_a = V::set1(scale_of_32(a + r * lda + kValues, s));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        const auto scaled = V::mul(V::to_float(sum[r][j]), scale_w[j]);
        total[r][j] = V::fma(scaled, scale_a, total[r][j]);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      V::store(sums + r * kPanelCols + j * V::kWidth, total[r][j]);
    }
  }
}

/// The same straight from a Q4_0 block, whose columns begin at `col`. Activations as bytes.
template <class V, int M, int C>
inline void micro_q4_0(const char* a, int64_t lda, const Q4_0Block& block, int64_t col, float* sums,
                       bool init) {
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    typename V::S sum[M][C];
    sum_halves<V, M, C>(a + s * kQuantSub, lda, block.q[s][0][col], sum);
    typename V::F scale_w[C];
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) scale_w[j] = V::load_f16(block.scale[s] + col + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      const char* tail = a + r * lda + kQuantGroup;
      const auto offset = V::set1_i(offset_of_32(tail, s) / 16);  // exactly -8 times the sum
      const auto scale_a = V::set1(scale_of_32(tail, s));
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        float* to = sums + r * kPanelCols + j * V::kWidth;
        const auto old = init && s == 0 ? V::zero() : V::load(to);
        typename V::S whole;
        if constexpr (V::kHasDot8) {
          whole = V::add_s(sum[r][j], offset);
        } else {
          const auto pairs = V::madd16(V::integers(sum[r][j]), V::both_halves(V::set1_i(1)));
          whole = V::add_s(V::add_s(V::zero_s(), pairs), offset);
        }
        V::store(to, V::fma(V::mul(V::to_float(whole), scale_w[j]), scale_a, old));
      }
    }
  }
}

/// A Q4_0 block as the bytes of a Q8_0 block: q - 8 + 128. No byte carries into the next.
template <class V>
inline void widen_q4_0(const Q4_0Block& block, uint8_t* q) {
  const auto lift = V::set1_i(0x78787878);
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    for (int64_t p = 0; p < kQuantSub / 8; ++p) {
      for (int64_t col = 0; col < kPanelCols; col += V::kWidth) {
        const auto bytes = V::load_i(block.q[s][p][col]);
        uint8_t* to = q + ((s * 8 + p) * kPanelCols + col) * 4;
        V::store_i(to, V::add_i(V::low_halves(bytes), lift));
        V::store_i(to + 4 * kPanelCols * 4, V::add_i(V::high_halves(bytes), lift));
      }
    }
  }
}

/// Few rows: the block as it lies, brought near by the first row tile.
template <class V>
inline void stream_q8_0(const char* a, int64_t lda, int64_t rows, const Q8_0Block& block,
                        float* sums, bool init) {
  for_each_row_tile<V>(rows, [&]<int M>(int64_t r) {
    constexpr int C = V::quant_strip_for_rows(M);
    const char* x = a + r * lda;
    float* to = sums + r * kPanelCols;
    for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
      const uint8_t* q = block.q[0][col];
      if (r == 0) {
        micro_q8_0<V, M, C, true>(x, lda, q, block.scale[0] + col, to + col, init);
      } else {
        micro_q8_0<V, M, C, false>(x, lda, q, block.scale[0] + col, to + col, init);
      }
    }
  });
}

template <class V>
inline void stream_q4_0(const char* a, int64_t lda, int64_t rows, const Q4_0Block& block,
                        float* sums, bool init) {
  static_assert(kInt4Rows == 3);
  const auto run = [&]<int M, int C>() {
    for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
      micro_q4_0<V, M, C>(a, lda, block, col, sums + col, init);
    }
  };
  switch (rows) {
    case 1:
      run.template operator()<1, 4>();
      break;
    case 2:
      run.template operator()<2, V::kHasDot8 ? 4 : 2>();
      break;
    default:
      run.template operator()<3, V::kStrip / 2>();
      break;
  }
}

/// Many rows against a block of bytes, two registers of columns at a time: their sums in integers
/// and in f32 are 24 registers of AVX-512.
template <class V>
inline void multiply_q8_0(const char* a, int64_t lda, int64_t rows, const uint8_t* q,
                          const uint16_t* scale, float* sums, bool init) {
  constexpr int C = 2;
  for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
    for_each_row_tile<V>(rows, [&]<int M>(int64_t r) {
      micro_q8_0<V, M, C, false>(a + r * lda, lda, q + col * 4, scale + col,
                                 sums + r * kPanelCols + col, init);
    });
  }
}

template <class V>
void multiply_ggml(const GemmArgs& g, const char* a, int64_t lda, int64_t rows, const char* block,
                   float* sums, uint8_t* wide, bool init) {
  if (g.b_type == kElementQ8_0) {
    const auto& b = *reinterpret_cast<const Q8_0Block*>(block);
    if (g.few_rows) {
      stream_q8_0<V>(a, lda, rows, b, sums, init);
    } else {
      multiply_q8_0<V>(a, lda, rows, b.q[0][0], b.scale[0], sums, init);
    }
    return;
  }
  const auto& b = *reinterpret_cast<const Q4_0Block*>(block);
  if (g.m <= kInt4Rows) {
    stream_q4_0<V>(a, lda, rows, b, sums, init);
  } else {
    widen_q4_0<V>(b, wide);
    multiply_q8_0<V>(a, lda, rows, wide, b.scale[0], sums, init);
  }
}

}  // namespace reelm::kernels
