// The blocked product of bf16 in the tiles of AMX, and the packing of activations for it and for
// gemm_quant.h.
//
// A panel's block (256 of k, 64 columns: 32 KB) stays in the first cache while the tiles of rows go
// by: 16 rows times 64 columns, 4 sums. Each step of k (32) loads one tile of activations from the
// second cache and 4 of weights from the first, 40 cycles of the two load ports beside 64 of
// products.
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

/// What is brought near while a tile of rows is multiplied: `lines` of the block of weights that
/// comes next, and the tile's own rows of the next block of k (null: none).
template <class V>
inline void fetch_ahead(const char* weights, int64_t lines, const char* rows) {
  for (int64_t i = 0; i < lines; ++i) V::prefetch_far(weights + i * 64);
  if (rows == nullptr) return;
  for (int64_t i = 0; i < kBlockK / 32 * 1024; i += 64) V::prefetch_far(rows + i);
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
    const int64_t tiles = (rows + 15) / 16;
    const int64_t panel0 = task % groups * g.group;
    const int64_t count = panels - panel0 < g.group ? panels - panel0 : g.group;
    const char* a = static_cast<const char*>(g.a) + row0 / 16 * tile_bytes;
    const char* first = static_cast<const char*>(g.b) + panel0 * panel_bytes;
    for (int64_t k = 0; k < g.k_pad; k += kBlockK) {
      const int64_t steps = (g.k_pad - k < kBlockK ? g.k_pad - k : kBlockK) / 32;
      const int64_t lines = (steps * 64 + tiles - 1) / tiles;  // 4 KB a step
      for (int64_t p = 0; p < count; ++p) {
        const bool last = p + 1 == count;
        const char* b = first + p * panel_bytes + k / 2 * kPanelBytes;
        const char* next = last ? first + (k + kBlockK) / 2 * kPanelBytes : b + panel_bytes;
        for (int64_t t = 0; t < tiles; ++t) {
          const char* at = a + t * tile_bytes + k / 32 * 1024;
          fetch_ahead<V>(next + t * lines * 64, lines,
                         last && k + kBlockK < g.k_pad ? at + kBlockK / 32 * 1024 : nullptr);
          tile_micro<1, 4>({.a = at,
                            .a_row = 64,
                            .a_tile = 0,
                            .a_step = 1024,
                            .b = b,
                            .b_row = kPanelBytes,
                            .c = scratch + p * sums_step + t * 16 * kTileSumsStride,
                            .c_row = kTileSumsStride * 4,
                            .steps = steps,
                            .init = k == 0});
        }
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      finish_panel<V>(g, scratch + p * sums_step, row0, rows, (panel0 + p) * kPanelCols,
                      kTileSumsStride);
    }
  }
}

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
