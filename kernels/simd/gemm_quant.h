// The product with quantised weights. Activations are rounded to int8 group by group (quantise.h),
// the 128 products of a group are summed in integers, exactly and so alike on every machine, and
// one fused multiply-add a group takes the sum into f32:
//
//   y[r][c] += (sum over the group of a[r][k] * (q[k][c] - 128)) * scale_w[c] * scale_a[r]
//
// Weights are kept unsigned, as the dot product of bytes wants its first operand; the 128 is taken
// off through the sum of the row's activations (QuantTail::offset). Without that instruction
// (VNNI) bytes are split into even and odd 16-bit numbers: two multiply-adds of pairs and two adds
// for four steps of k, half of what four f32 steps cost, and nothing saturates.
#pragma once

#include "../simd/gemm.h"

namespace reelm::kernels {

/// sum[M][C] += 4 * (end - begin) products: of steps [begin, end) of q, [32][64][4], whose columns
/// begin where it points, with those of M rows of activations.
template <class V, int M, int C, bool kPrefetch>
inline __attribute__((always_inline)) void add_products(const char* a, int64_t lda,
                                                        const uint8_t* q, int64_t begin,
                                                        int64_t end, typename V::S (&sum)[M][C]) {
  for (int64_t step = begin; step < end; ++step) {
    const uint8_t* b = q + step * kPanelCols * 4;
    if constexpr (kPrefetch) {
      for (int line = 0; line < C * V::kWidth * 4; line += 64) {
        V::prefetch(b + kPrefetchBytes + line);
      }
    }
    const auto broadcast = [&](int r, int64_t offset) {
      int32_t four;
      __builtin_memcpy(&four, a + r * lda + offset + step * 4, 4);
      return V::set1_i(four);
    };
    if constexpr (V::kHasDot8) {
      typename V::I w[C];
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) w[j] = V::load_i(b + j * V::kWidth * 4);
#pragma GCC unroll 8
      for (int r = 0; r < M; ++r) {
        const auto x = broadcast(r, 0);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) sum[r][j] = V::dot8(sum[r][j], w[j], x);
      }
    } else {
      // Two registers of columns at a time, whatever C: see kQuantRows.
      constexpr int kPair = C < 2 ? C : 2;
#pragma GCC unroll 8
      for (int j0 = 0; j0 < C; j0 += kPair) {
        typename V::I even[kPair], odd[kPair];
#pragma GCC unroll 2
        for (int j = 0; j < kPair; ++j) {
          const auto bytes = V::load_i(b + (j0 + j) * V::kWidth * 4);
          even[j] = V::even_bytes(bytes);
          odd[j] = V::odd_bytes(bytes);
        }
#pragma GCC unroll 8
        for (int r = 0; r < M; ++r) {
          const auto x = broadcast(r, 0);
#pragma GCC unroll 2
          for (int j = 0; j < kPair; ++j) {
            sum[r][j0 + j] = V::add_s(sum[r][j0 + j], V::madd16(x, even[j]));
          }
          const auto y = broadcast(r, kQuantGroup);
#pragma GCC unroll 2
          for (int j = 0; j < kPair; ++j) {
            sum[r][j0 + j] = V::add_s(sum[r][j0 + j], V::madd16(y, odd[j]));
          }
        }
      }
    }
  }
}

/// sums[M][64] (+)= one group, columns [0, C * W) from `sums`, `q` and `scale` on. q: [32][64][4].
template <class V, int M, int C, bool kPrefetch>
inline void micro_int8(const char* a, int64_t lda, const uint8_t* q, const uint16_t* scale,
                       float* sums, bool init) {
  constexpr int64_t kValues = (V::kHasDot8 ? 1 : 2) * kQuantGroup;
  typename V::S sum[M][C];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) sum[r][j] = V::zero_s();
  }
  add_products<V, M, C, kPrefetch>(a, lda, q, 0, kQuantGroup / 4, sum);
  typename V::F scale_w[C];
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j) scale_w[j] = V::load_bf16(scale + j * V::kWidth);
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
    QuantTail tail;
    __builtin_memcpy(&tail, a + r * lda + kValues, sizeof(tail));
    const auto offset = V::set1_i(tail.offset);
    const auto scale_a = V::set1(tail.scale);
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      float* to = sums + r * kPanelCols + j * V::kWidth;
      const auto old = init ? V::zero() : V::load(to);
      const auto scaled = V::mul(V::to_float(V::add_s(sum[r][j], offset)), scale_w[j]);
      V::store(to, V::fma(scaled, scale_a, old));
    }
  }
}

/// sum[M][C] = 32 products: of the halves of bytes of q, [4][64][4], whose columns begin where it
/// points, with those of M rows of activations as bytes. 32-bit with kHasDot8, else 16-bit: at most
/// 8 * 2 * 15 * 127.
template <class V, int M, int C>
inline __attribute__((always_inline)) void sum_halves(const char* a, int64_t lda, const uint8_t* q,
                                                      typename V::S (&sum)[M][C]) {
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) sum[r][j] = V::zero_s();
  }
#pragma GCC unroll 1
  for (int64_t p = 0; p < kQuantSub / 8; ++p) {
    const uint8_t* b = q + p * kPanelCols * 4;
#pragma GCC unroll 8
    for (int line = 0; line < C * V::kWidth * 4; line += 64) {
      V::prefetch(b + kPrefetchBytes / 2 + line);
    }
    typename V::I first[M], second[M];
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      int32_t four[2];
      const char* x = a + r * lda + p * 4;
      __builtin_memcpy(&four[0], x, 4);
      __builtin_memcpy(&four[1], x + kQuantSub / 2, 4);
      first[r] = V::set1_i(four[0]);
      second[r] = V::set1_i(four[1]);
    }
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const auto bytes = V::load_i(b + j * V::kWidth * 4);
      const auto low = V::low_halves(bytes), high = V::high_halves(bytes);
#pragma GCC unroll 8
      for (int r = 0; r < M; ++r) {
        if constexpr (V::kHasDot8) {
          sum[r][j] = V::dot8(V::dot8(sum[r][j], low, first[r]), high, second[r]);
        } else {
          const auto both = V::add16(V::madd8(low, first[r]), V::madd8(high, second[r]));
          sum[r][j] = V::add16_s(sum[r][j], both);
        }
      }
    }
  }
}

/// As micro_int8, straight from an int4 block, whose columns begin at `col`: whole numbers are
/// summed by 32 as q * a, then multiplied by the step. Activations as bytes.
template <class V, int M, int C>
inline void micro_int4(const char* a, int64_t lda, const Int4Block& block, int64_t col, float* sums,
                       bool init) {
  typename V::S total[M][C];
  QuantTail tails[M];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
    __builtin_memcpy(&tails[r], a + r * lda + kQuantGroup, sizeof(QuantTail));
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) total[r][j] = V::add_s(V::zero_s(), V::set1_i(tails[r].offset));
  }
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    typename V::S sum[M][C];
    sum_halves<V, M, C>(a + s * kQuantSub, lda, block.q[s][0][col], sum);
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      const auto step = V::load_u8(block.step[s] + col + j * V::kWidth);
      const auto base = V::load_u8(block.base[s] + col + j * V::kWidth);
#pragma GCC unroll 8
      for (int r = 0; r < M; ++r) {
        typename V::I scaled;
        if constexpr (V::kHasDot8) {
          scaled = V::mul_s(sum[r][j], step);
        } else {
          scaled = V::madd16(V::integers(sum[r][j]), V::both_halves(step));
        }
        // base < 2^8 and |sum of 32| < 2^12: a product of the low 16 bits.
        const auto lifted = V::madd16(base, V::set1_i(tails[r].sums[s]));
        total[r][j] = V::add_s(total[r][j], V::add_i(scaled, lifted));
      }
    }
  }
#pragma GCC unroll 8
  for (int j = 0; j < C; ++j) {
    const auto scale_w = V::load_bf16(block.scale + col + j * V::kWidth);
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      float* to = sums + r * kPanelCols + j * V::kWidth;
      const auto old = init ? V::zero() : V::load(to);
      const auto scaled = V::mul(V::to_float(total[r][j]), scale_w);
      V::store(to, V::fma(scaled, V::set1(tails[r].scale), old));
    }
  }
}

/// An int4 block as the bytes of an int8 block: step * q + base. Bytes never carry into the next:
/// a product is at most 15 * 17.
template <class V>
inline void widen_int4(const Int4Block& block, uint8_t* q) {
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    for (int64_t col = 0; col < kPanelCols; col += V::kWidth) {
      const auto step = V::both_halves(V::load_u8(block.step[s] + col));
      const auto base = V::all_bytes(V::load_u8(block.base[s] + col));
      for (int64_t p = 0; p < kQuantSub / 8; ++p) {
        const auto bytes = V::load_i(block.q[s][p][col]);
        uint8_t* to = q + ((s * 8 + p) * kPanelCols + col) * 4;
        V::store_i(to, V::add_i(V::mul16(V::low_halves(bytes), step), base));
        V::store_i(to + 4 * kPanelCols * 4, V::add_i(V::mul16(V::high_halves(bytes), step), base));
      }
    }
  }
}

/// M rows and all 64 columns of a block, C registers at a time.
template <class V, int M, int C, bool kPrefetch>
inline void panel_int8(const char* a, int64_t lda, const uint8_t* q, const uint16_t* scale,
                       float* sums, bool init) {
  for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
    micro_int8<V, M, C, kPrefetch>(a, lda, q + col * 4, scale + col, sums + col, init);
  }
}

/// Rows of a tile. Without a dot product of bytes both halves of the weights are in registers at
/// once: with AVX2 8 sums, 4 weights, an activation, a product and a mask are 15 of 16. (6 rows
/// with a half at a time would be 16 as well, but GCC keeps both: a third of the loop went to the
/// stack.)
template <class V>
inline constexpr int64_t kQuantRows = V::kHasDot8 ? 6 : 4;

/// Calls run.operator()<M>(first_row) for tiles of at most kQuantRows rows.
template <class V, class Run>
inline void for_each_row_tile(int64_t rows, Run&& run) {
  for (int64_t r = 0; r < rows; r += kQuantRows<V>) {
    switch (rows - r < kQuantRows<V> ? rows - r : kQuantRows<V>) {
      case 1:
        run.template operator()<1>(r);
        break;
      case 2:
        run.template operator()<2>(r);
        break;
      case 3:
        run.template operator()<3>(r);
        break;
      case 4:
        run.template operator()<4>(r);
        break;
      default:
        if constexpr (kQuantRows<V> == 6) {
          if (rows - r == 5) {
            run.template operator()<5>(r);
          } else {
            run.template operator()<6>(r);
          }
        }
        break;
    }
  }
}

/// Few rows: the block as it lies, brought near by the first row tile.
template <class V>
inline void stream_int8(const char* a, int64_t lda, int64_t rows, const Int8Block& block,
                        float* sums, bool init) {
  for_each_row_tile<V>(rows, [&]<int M>(int64_t r) {
    constexpr int C = V::quant_strip_for_rows(M);
    const uint8_t* q = block.q[0][0];
    if (r == 0) {
      panel_int8<V, M, C, true>(a, lda, q, block.scale, sums, init);
    } else {
      panel_int8<V, M, C, false>(a + r * lda, lda, q, block.scale, sums + r * kPanelCols, init);
    }
  });
}

template <class V>
inline void stream_int4(const char* a, int64_t lda, int64_t rows, const Int4Block& block,
                        float* sums, bool init) {
  static_assert(kInt4Rows == 3);
  const auto run = [&]<int M, int C>() {
    for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
      micro_int4<V, M, C>(a, lda, block, col, sums + col, init);
    }
  };
  // Two registers for every sum: twice as many as an int8 tile of the same size.
  switch (rows) {
    case 1:
      run.template operator()<1, 4>();
      break;
    case 2:
      run.template operator()<2, 2>();
      break;
    default:
      run.template operator()<3, V::kStrip / 2>();
      break;
  }
}

/// Many rows against a block of bytes. Strips outside, row tiles inside: a strip stays in the first
/// cache. (Fetching the next block meanwhile, as gemm.h does, gained nothing here: blocks follow
/// each other in memory.)
template <class V>
inline void multiply_int8(const char* a, int64_t lda, int64_t rows, const uint8_t* q,
                          const uint16_t* scale, float* sums, bool init) {
  constexpr int C = V::kStrip;
  for (int64_t col = 0; col < kPanelCols; col += C * V::kWidth) {
    for_each_row_tile<V>(rows, [&]<int M>(int64_t r) {
      micro_int8<V, M, C, false>(a + r * lda, lda, q + col * 4, scale + col,
                                 sums + r * kPanelCols + col, init);
    });
  }
}

/// The same for ggml's blocks: simd/gemm_ggml.h.
template <class V>
void multiply_ggml(const GemmArgs& g, const char* a, int64_t lda, int64_t rows, const char* block,
                   float* sums, uint8_t* wide, bool init);

/// One group of one panel, whatever its type.
template <class V>
inline void multiply_group(const GemmArgs& g, const char* a, int64_t lda, int64_t rows,
                           const char* block, float* sums, uint8_t* wide, bool init) {
  if (is_ggml_element(g.b_type)) {
    multiply_ggml<V>(g, a, lda, rows, block, sums, wide, init);
    return;
  }
  if (g.b_type == kElementInt8) {
    const auto& b = *reinterpret_cast<const Int8Block*>(block);
    if (g.few_rows) {
      stream_int8<V>(a, lda, rows, b, sums, init);
    } else {
      multiply_int8<V>(a, lda, rows, b.q[0][0], b.scale, sums, init);
    }
    return;
  }
  const auto& b = *reinterpret_cast<const Int4Block*>(block);
  if (g.m <= kInt4Rows) {
    stream_int4<V>(a, lda, rows, b, sums, init);
  } else {
    widen_int4<V>(b, wide);
    multiply_int8<V>(a, lda, rows, wide, b.scale, sums, init);
  }
}

template <class V>
void gemm_quant_tasks(const GemmArgs& g, int64_t begin, int64_t end, float* scratch) {
  const int64_t panels = (g.n + kPanelCols - 1) / kPanelCols;
  const int64_t groups = (panels + g.group - 1) / g.group;
  const bool four_bits = g.b_type == kElementInt4 || g.b_type == kElementQ4_0;
  const int64_t block_bytes = quant_block_bytes(g.b_type);
  const int64_t panel_bytes = g.k_pad / kQuantGroup * block_bytes;
  const int64_t sums_step = g.chunk_rows * kPanelCols;
  const int kind = V::kHasDot8 || (four_bits && g.m <= kInt4Rows) ? kPackedInt8 : kPackedInt16;
  const int64_t lda = quant_row_bytes(kind);
  auto* wide = reinterpret_cast<uint8_t*>(scratch + g.group * sums_step);
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row0 = task / groups * g.chunk_rows;
    const int64_t rows = g.m - row0 < g.chunk_rows ? g.m - row0 : g.chunk_rows;
    const int64_t panel0 = task % groups * g.group;
    const int64_t count = panels - panel0 < g.group ? panels - panel0 : g.group;
    const char* first = static_cast<const char*>(g.b) + panel0 * panel_bytes;
    for (int64_t group = 0; group < g.k_pad / kQuantGroup; ++group) {
      const char* a = static_cast<const char*>(g.a) + (group * g.m + row0) * lda;
      for (int64_t p = 0; p < count; ++p) {
        multiply_group<V>(g, a, lda, rows, first + p * panel_bytes + group * block_bytes,
                          scratch + p * sums_step, wide, group == 0);
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      finish_panel<V>(g, scratch + p * sums_step, row0, rows, (panel0 + p) * kPanelCols);
    }
  }
}

}  // namespace reelm::kernels
