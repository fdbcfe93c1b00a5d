// The blocked product of bf16 in the tiles of AMX, and the packing of activations for it and for
// gemm_quant.h.
//
// Half a panel's block (512 of k, 32 columns: 32 KB) stays in the first cache while the tiles of
// rows go by in pairs: 32 rows times 32 columns, 4 sums, for which a step of k (32) loads 4 tiles
// beside 64 cycles of products. 16 rows times 64 columns load 5: as fast on an idle core (1,300 and
// 1,400 GFLOP/s of 2,500 in the caches), a fifth slower where another thread shares the core's
// loads (500 and 400).
#pragma once

#include "../simd/gemm.h"
#include "../simd/quantise.h"
#include "vec.h"

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

template <class V>
inline void pack_bf16_tiles(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad,
                            char* a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < (end + 15) / 16 * 16; ++row) {
    char* to = a + (row / 16 * (k_pad / 32) * 16 + row % 16) * 64;
    for (int64_t k0 = 0; k0 < k_pad; k0 += 32, to += 1024) {
      const int64_t n = row < m && k0 < k ? (k - k0 < 32 ? k - k0 : 32) : 0;
      if (n < 32) __builtin_memset(to, 0, 64);
      f32_to_bf16_row<V>(x + row * x_stride + k0, to, n);
    }
  }
}

template <class V>
inline void pack_int8_tiles(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad,
                            QuantTile* a, int64_t begin, int64_t end) {
  const int64_t tiles = (m + 15) / 16;
  alignas(64) float padded[kQuantGroup];
  alignas(64) char packed[quant_row_bytes(kPackedInt8)];
  for (int64_t row = begin; row < (end + 15) / 16 * 16; ++row) {
    for (int64_t k0 = 0; k0 < k_pad; k0 += kQuantGroup) {
      QuantTile& tile = a[k0 / kQuantGroup * tiles + row / 16];
      const float* from = x + row * x_stride + k0;
      if (row >= m || k - k0 < kQuantGroup) {
        pad_group<V>(from, row < m && k > k0 ? k - k0 : 0, padded);
        from = padded;
      }
      quantise_row<V>(from, kPackedInt8, packed);
      QuantTail tail;
      __builtin_memcpy(&tail, packed + kQuantGroup, sizeof(tail));
      __builtin_memcpy(tile.q[0][row % 16], packed, 64);
      __builtin_memcpy(tile.q[1][row % 16], packed + 64, 64);
      tile.scale[row % 16] = tail.scale;
      tile.offset[row % 16] = tail.offset;
    }
  }
}

/// See KernelTable::pack_a.
template <class V>
void pack_a_tile_rows(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad,
                      int kind, void* a, int64_t begin, int64_t end) {
  if (kind == kPackedBf16Tiles) {
    pack_bf16_tiles<V>(x, x_stride, m, k, k_pad, static_cast<char*>(a), begin, end);
  } else if (kind == kPackedInt8Tiles) {
    pack_int8_tiles<V>(x, x_stride, m, k, k_pad, static_cast<QuantTile*>(a), begin, end);
  } else {
    pack_a_any<V>(x, x_stride, m, k, k_pad, kind, a, begin, end);
  }
}

/// Steps of k in one block: sums are loaded and stored once in 1,024 cycles of products.
inline constexpr int64_t kTileBlockK = 2 * kBlockK;

/// What is brought near while two tiles of rows are multiplied with half a panel: `lines` of the
/// block of weights that comes next, and `row_lines` of the tiles' own rows in the next block of k.
template <class V>
inline void fetch_ahead(const char* weights, int64_t lines, const char* rows, int64_t row_lines) {
  for (int64_t i = 0; i < lines; ++i) V::prefetch_far(weights + i * 64);
  for (int64_t i = 0; i < row_lines; ++i) V::prefetch_far(rows + i * 64);
}

/// One block of k of a task's rows with one panel.
struct TileBlock {
  const char* a;
  int64_t tile_bytes;  // from one tile of rows to the next
  int64_t tiles;
  const char* b;
  const char* next;  // the block of weights that comes after this one
  bool last_panel;   // whether the rows' next block of k comes after this one
  int64_t steps;
  float* sums;
  bool init;
};

template <class V>
inline void multiply_tile_block(const TileBlock& block) {
  constexpr int64_t kHalf = 2;  // tiles of columns
  const int64_t pairs = (block.tiles + 1) / 2;
  const int64_t lines = block.next == nullptr ? 0 : (block.steps * 32 + pairs - 1) / pairs;
  for (int64_t half = 0; half < 2; ++half) {
    for (int64_t t = 0; t < block.tiles; t += 2) {
      const char* a = block.a + t * block.tile_bytes;
      const bool rows_too = block.last_panel && half == 1 && t + 1 < block.tiles;
      fetch_ahead<V>(block.next + (half * pairs + t / 2) * lines * 64, lines,
                     a + block.steps * 1024, rows_too ? block.steps * 16 : 0);
      const TileProduct product = {.a = a,
                                   .a_row = 64,
                                   .a_tile = block.tile_bytes,
                                   .a_step = 1024,
                                   .b = block.b + half * kHalf * 64,
                                   .b_row = kPanelBytes,
                                   .c = block.sums + t * 16 * kTileSumsStride + half * kHalf * 16,
                                   .c_row = kTileSumsStride * 4,
                                   .steps = block.steps,
                                   .init = block.init};
      if (t + 1 < block.tiles) {
        tile_micro<2, 2>(product);
      } else {
        tile_micro<1, 2>(product);
      }
    }
  }
}

/// See KernelTable::gemm.
template <class V>
void gemm_tile_tasks(const GemmArgs& g, int64_t begin, int64_t end, float* scratch) {
  if (g.b_type != kElementBf16 || g.few_rows) {
    gemm_tasks<V>(g, begin, end, scratch);
    return;
  }
  const TileScope scope;
  const int64_t panels = (g.n + kPanelCols - 1) / kPanelCols;
  const int64_t groups = (panels + g.group - 1) / g.group;
  const int64_t panel_bytes = g.k_pad / 2 * kPanelBytes;
  const int64_t tile_bytes = g.k_pad / 32 * 1024;  // of activations
  const int64_t sums_step = g.chunk_rows * kTileSumsStride;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row0 = task / groups * g.chunk_rows;
    const int64_t rows = g.m - row0 < g.chunk_rows ? g.m - row0 : g.chunk_rows;
    const int64_t panel0 = task % groups * g.group;
    const int64_t count = panels - panel0 < g.group ? panels - panel0 : g.group;
    const char* a = static_cast<const char*>(g.a) + row0 / 16 * tile_bytes;
    const char* first = static_cast<const char*>(g.b) + panel0 * panel_bytes;
    for (int64_t k = 0; k < g.k_pad; k += kTileBlockK) {
      const int64_t left = g.k_pad - k;
      const bool last_k = left <= kTileBlockK;
      for (int64_t p = 0; p < count; ++p) {
        const bool last = p + 1 == count;
        const char* b = first + p * panel_bytes + k / 2 * kPanelBytes;
        const char* after = last_k ? nullptr : first + (k + kTileBlockK) / 2 * kPanelBytes;
        multiply_tile_block<V>({.a = a + k / 32 * 1024,
                                .tile_bytes = tile_bytes,
                                .tiles = (rows + 15) / 16,
                                .b = b,
                                .next = last ? after : b + panel_bytes,
                                .last_panel = last && !last_k,
                                .steps = (last_k ? left : kTileBlockK) / 32,
                                .sums = scratch + p * sums_step,
                                .init = k == 0});
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      finish_panel<V>(g, scratch + p * sums_step, row0, rows, (panel0 + p) * kPanelCols,
                      kTileSumsStride);
    }
  }
}

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
