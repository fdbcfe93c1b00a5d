// The product of many rows with quantised weights in the tiles of AMX: the same integers as in
// simd/gemm_quant.h, taken into f32 in the same order, so the same bits as with VNNI.
//
// 16 rows times 64 columns times a group of 128 are 8 products of tiles, 128 cycles. Their sums are
// 64 registers that have to be scaled and added up in f32, which takes about as long; so the sums
// of one tile of rows are scaled while the products of the next one run.
#pragma once

#include "../simd/gemm_quant.h"
#include "vec.h"

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

/// Sums of 16 rows and all columns of a panel over one group.
using TileSums = int32_t[16][kPanelCols];

inline void sum_group(const QuantTile& a, const uint8_t* q, TileSums& to) {
  unrolled<4>([]<int J>() { tile_zero<J>(); });
  unrolled<2>([&]<int S>() {
    tile_load<4 + S>(a.q[S], 64);
    unrolled<4>([&]<int J>() {
      constexpr int kB = 6 + J % 2;
      tile_load<kB>(q + S * 16 * kPanelCols * 4 + J * 64, kPanelCols * 4);
      tile_dot_bytes<J, 4 + S, kB>();
    });
  });
  unrolled<4>([&]<int J>() { tile_store<J>(to[0] + J * 16, sizeof(to[0])); });
}

/// sums [16][64] (+)= (from + offset of the row) * scale of the column * scale of the row.
template <class V>
inline void scale_group(const TileSums& from, const QuantTile& a, const uint16_t* scale,
                        float* sums, bool init) {
  constexpr int kRegisters = kPanelCols / V::kWidth;
  typename V::F scale_w[kRegisters];
#pragma GCC unroll 4
  for (int j = 0; j < kRegisters; ++j) scale_w[j] = V::load_bf16(scale + j * V::kWidth);
  for (int r = 0; r < 16; ++r) {
    const auto offset = V::set1_i(a.offset[r]);
    const auto scale_a = V::set1(a.scale[r]);
#pragma GCC unroll 4
    for (int j = 0; j < kRegisters; ++j) {
      float* to = sums + r * kPanelCols + j * V::kWidth;
      const auto old = init ? V::zero() : V::load(to);
      const auto sum = V::add_s(V::sums(V::load_i(from[r] + j * V::kWidth)), offset);
      V::store(to, V::fma(V::mul(V::to_float(sum), scale_w[j]), scale_a, old));
    }
  }
}

/// See KernelTable::gemm_quant.
template <class V>
void gemm_quant_tile_tasks(const GemmArgs& g, int64_t begin, int64_t end, float* scratch) {
  const bool int4 = g.b_type == kElementInt4;
  if (g.few_rows || (int4 && g.m <= kInt4Rows) || is_ggml_element(g.b_type)) {
    gemm_quant_tasks<V>(g, begin, end, scratch);
    return;
  }
  const TileScope scope;
  const int64_t panels = (g.n + kPanelCols - 1) / kPanelCols;
  const int64_t groups = (panels + g.group - 1) / g.group;
  const int64_t block_bytes = int4 ? sizeof(Int4Block) : sizeof(Int8Block);
  const int64_t panel_bytes = g.k_pad / kQuantGroup * block_bytes;
  const int64_t sums_step = g.chunk_rows * kPanelCols;
  auto* wide = reinterpret_cast<uint8_t*>(scratch + g.group * sums_step);
  alignas(64) TileSums sums[2];
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row0 = task / groups * g.chunk_rows;
    const int64_t rows = g.m - row0 < g.chunk_rows ? g.m - row0 : g.chunk_rows;
    const int64_t tiles = (rows + 15) / 16;
    const int64_t panel0 = task % groups * g.group;
    const int64_t count = panels - panel0 < g.group ? panels - panel0 : g.group;
    const char* first = static_cast<const char*>(g.b) + panel0 * panel_bytes;
    for (int64_t group = 0; group < g.k_pad / kQuantGroup; ++group) {
      const QuantTile* a = static_cast<const QuantTile*>(g.a) + (group * g.a_rows + row0) / 16;
      for (int64_t p = 0; p < count; ++p) {
        const char* block = first + p * panel_bytes + group * block_bytes;
        const uint8_t* q = wide;
        const uint16_t* scale = reinterpret_cast<const uint16_t*>(block);  // both begin with it
        if (int4) {
          widen_int4<V>(*reinterpret_cast<const Int4Block*>(block), wide);
        } else {
          q = reinterpret_cast<const Int8Block*>(block)->q[0][0];
        }
        sum_group(a[0], q, sums[0]);
        for (int64_t t = 0; t < tiles; ++t) {
          if (t + 1 < tiles) sum_group(a[t + 1], q, sums[(t + 1) % 2]);
          scale_group<V>(sums[t % 2], a[t], scale, scratch + p * sums_step + t * 16 * kPanelCols,
                         group == 0);
        }
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      finish_panel<V>(g, scratch + p * sums_step, row0, rows, (panel0 + p) * kPanelCols);
    }
  }
}

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
