// The blocked product and its packing. Layouts are said in table.h.
//
// One micro-kernel serves both regimes: M rows of activations times C registers of columns, sums in
// registers over a block of k. With many rows a block of the panel (256 x 64) is first copied into
// strips as wide as the micro-kernel, widened to f32 where the set has no bf16 dot product, and
// then used by every row: the copy costs 1/rows of the product. With few rows the panel is read as
// it lies, once, with prefetches running ahead.
#pragma once

#include "../simd/math.h"
#include "../simd/rows.h"
#include "../simd/table.h"

namespace reelm::kernels {

/// How a micro-kernel step reads its operands. kStepF32: one k a step, floats. kStepWiden: two k a
/// step, pairs of bf16 weights times two floats. kStepDot: two k a step, pairs on both sides.
enum StepKind : int { kStepF32, kStepWiden, kStepDot };

/// Bytes ahead of the current weights to prefetch while streaming: several times latency times
/// bandwidth of one core (about 110 ns * 22 GB/s = 2.4 KB), well inside the first cache. Measured
/// on Zen 3: 1 to 16 KB differ by less than the noise, none at all loses a fifth.
inline constexpr int64_t kPrefetchBytes = 8192;
/// From one step to the next in a panel as it lies.
inline constexpr int64_t kPanelBytes = kPanelCols * 4;

/// c[M][C * W] (+)= a[M][steps] * b[steps][C * W]. lda and ldc in 4-byte words, ldb in bytes.
/// `init` starts from zero instead of c. With kTile, a is a tile of floats, [steps][kRowTile].
template <class V, int M, int C, StepKind kKind, bool kPrefetch, bool kTile = false>
inline void micro(const void* a_data, int64_t lda, const void* b_data, int64_t ldb, float* c,
                  int64_t ldc, int64_t steps, bool init) {
  typename V::F sum[M][C];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) {
      sum[r][j] = init ? V::zero() : V::load(c + r * ldc + j * V::kWidth);
    }
  }
  const auto* a = static_cast<const char*>(a_data);
  const auto* b = static_cast<const char*>(b_data);
  static_assert(!kTile || kKind == kStepF32);
  constexpr int64_t kStepBytesA = kTile ? 4 * V::kRowTile : (kKind == kStepWiden ? 8 : 4);
  const int64_t row_bytes = kTile ? 4 : lda * 4;
  for (int64_t s = 0; s < steps; ++s) {
    if constexpr (kPrefetch) {
      for (int line = 0; line < C * V::kWidth * 4; line += 64) {
        V::prefetch(b + kPrefetchBytes + line);
      }
    }
    if constexpr (kKind == kStepF32) {
      typename V::F w[C];
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        w[j] = V::load(reinterpret_cast<const float*>(b) + j * V::kWidth);
      }
#pragma GCC unroll 8
      for (int r = 0; r < M; ++r) {
        const auto x = V::set1(*reinterpret_cast<const float*>(a + r * row_bytes));
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) sum[r][j] = V::fma(x, w[j], sum[r][j]);
      }
    } else if constexpr (kKind == kStepWiden) {
      // First one half of the pairs for all rows, then the other: both at once need 17 registers.
#pragma GCC unroll 2
      for (int half = 0; half < 2; ++half) {
        typename V::F w[C];
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) {
          const auto pair = V::load_pairs(reinterpret_cast<const uint32_t*>(b) + j * V::kWidth);
          w[j] = half == 0 ? V::pair_first(pair) : V::pair_second(pair);
        }
#pragma GCC unroll 8
        for (int r = 0; r < M; ++r) {
          const auto x = V::set1(reinterpret_cast<const float*>(a + r * row_bytes)[half]);
#pragma GCC unroll 8
          for (int j = 0; j < C; ++j) sum[r][j] = V::fma(x, w[j], sum[r][j]);
        }
      }
    } else {
      typename V::I w[C];
#pragma GCC unroll 8
      for (int j = 0; j < C; ++j) {
        w[j] = V::load_pairs(reinterpret_cast<const uint32_t*>(b) + j * V::kWidth);
      }
#pragma GCC unroll 8
      for (int r = 0; r < M; ++r) {
        uint32_t pair;
        __builtin_memcpy(&pair, a + r * row_bytes, 4);
        const auto x = V::set1_pair(pair);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) sum[r][j] = V::dot_pairs(sum[r][j], x, w[j]);
      }
    }
    a += kStepBytesA;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int j = 0; j < C; ++j) V::store(c + r * ldc + j * V::kWidth, sum[r][j]);
  }
}

/// `rows` (at most kRowTile) rows and all 64 columns of a panel block. `strip_step`: words from one
/// strip to the next in b.
template <class V, int M, int C, StepKind kKind, bool kPrefetch>
inline void micro_panel(const void* a, int64_t lda, const uint32_t* b, int64_t ldb,
                        int64_t strip_step, float* c, int64_t steps, bool init) {
  constexpr int64_t kCols = C * V::kWidth;
  for (int64_t col = 0; col < kPanelCols; col += kCols) {
    micro<V, M, C, kKind, kPrefetch>(a, lda, b + col / kCols * strip_step, ldb, c + col, kPanelCols,
                                     steps, init);
  }
}

/// Few rows: the panel as it lies. Steps are cut so that a block stays in the first cache while the
/// strips and row tiles go over it.
template <class V, StepKind kKind>
inline void stream_block(const char* a, int64_t lda, int64_t rows, const uint32_t* b, float* c,
                         int64_t steps, bool init) {
  constexpr bool kWholePanel = V::kStrip * V::kWidth == kPanelCols;
  const int64_t kSub = kWholePanel && rows <= V::kRowTile ? steps : 32;
  constexpr int64_t kStepBytesA = kKind == kStepWiden ? 8 : 4;
  for (int64_t s = 0; s < steps; s += kSub) {
    const int64_t n = steps - s < kSub ? steps - s : kSub;
    const uint32_t* bs = b + s * kPanelCols;
    const char* as = a + s * kStepBytesA;
    const bool first = init && s == 0;
    bool fetch = true;  // the first row tile prefetches for all
    for (int64_t r = 0; r < rows; r += V::kRowTile) {
      const char* ar = as + r * lda * 4;
      float* cr = c + r * kPanelCols;
      const auto run = [&]<int M>() {
        constexpr int C = V::strip_for_rows(M);
        constexpr int64_t kStep = C * V::kWidth;
        if (fetch) {
          micro_panel<V, M, C, kKind, true>(ar, lda, bs, kPanelBytes, kStep, cr, n, first);
        } else {
          micro_panel<V, M, C, kKind, false>(ar, lda, bs, kPanelBytes, kStep, cr, n, first);
        }
      };
      switch (rows - r) {
        case 1:
          run.template operator()<1>();
          break;
        case 2:
          run.template operator()<2>();
          break;
        case 3:
          run.template operator()<3>();
          break;
        case 4:
          run.template operator()<4>();
          break;
        case 5:
          run.template operator()<5>();
          break;
        default:
          run.template operator()<6>();
          break;
      }
      fetch = false;
    }
  }
}

/// Many rows against one strip of a block; floats are in tiles. Meanwhile `ahead` bytes from
/// `next`, the block that comes after this one, are brought near, a few lines per row tile.
template <class V, StepKind kKind>
inline void strip_rows(const char* a, int64_t lda, int64_t rows, const void* b, int64_t ldb,
                       float* c, int64_t steps, bool init, const char* next, int64_t ahead) {
  constexpr int C = V::kStrip;
  constexpr bool kTile = kKind == kStepF32;
  const int64_t tiles = (rows + V::kRowTile - 1) / V::kRowTile;
  const int64_t ahead_step = (ahead / tiles + 63) / 64 * 64;
  for (int64_t r = 0; r < rows; r += V::kRowTile) {
    for (int64_t line = 0; line < ahead_step && ahead > 0; line += 64, ahead -= 64) {
      V::prefetch(next);
      next += 64;
    }
    const char* ar = a + r * lda * 4;
    float* cr = c + r * kPanelCols;
    switch (rows - r) {
      case 1:
        micro<V, 1, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
      case 2:
        micro<V, 2, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
      case 3:
        micro<V, 3, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
      case 4:
        micro<V, 4, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
      case 5:
        micro<V, 5, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
      default:
        micro<V, 6, C, kKind, false, kTile>(ar, lda, b, ldb, cr, kPanelCols, steps, init);
        break;
    }
  }
}

/// Copies a block of a panel into strips [64 / kCols][kc][kCols] of f32.
template <class V>
inline void widen_block(const uint32_t* b, bool bf16, int64_t kc, float* strips) {
  constexpr int64_t kCols = V::kStrip * V::kWidth;
  for (int64_t col = 0; col < kPanelCols; col += V::kWidth) {
    float* to = strips + col / kCols * kc * kCols + col % kCols;
    if (bf16) {
      for (int64_t k = 0; k < kc; k += 2) {
        const auto pair = V::load_pairs(b + k / 2 * kPanelCols + col);
        V::store(to + k * kCols, V::pair_first(pair));
        V::store(to + (k + 1) * kCols, V::pair_second(pair));
      }
    } else {
      for (int64_t k = 0; k < kc; ++k) {
        V::store(to + k * kCols, V::load(reinterpret_cast<const float*>(b) + k * kPanelCols + col));
      }
    }
  }
}

template <class V>
inline typename V::F activate(typename V::F v, int activation) {
  switch (activation) {
    case kActQuickGelu:
      return swish_ps<V>(v, 1.702f);
    case kActGelu:
      return gelu_ps<V>(v);
    case kActSilu:
      return swish_ps<V>(v, 1.0f);
    case kActGeluTanh:
      return gelu_tanh_ps<V>(v);
    default:
      return v;
  }
}

/// Brings near where `floats` of a row of results go that is stored kResultRowsAhead rows later:
/// rows of a panel lie far apart, and no prefetcher of a CPU follows. Without it the stores took a
/// quarter of a product of 1,196 rows in the tiles of AMX, with it products were 1.0 to 1.16 times
/// as fast. Always inline: see V::prefetch.
inline constexpr int64_t kResultRowsAhead = 8;
template <class V>
[[gnu::always_inline]] inline void fetch_results(const GemmArgs& g, const float* y, int64_t floats,
                                                 int64_t rows_left) {
  if (rows_left <= kResultRowsAhead) return;
  const float* later = y + kResultRowsAhead * g.y_stride;
  for (int64_t i = 0; i < floats; i += 16) V::prefetch(later + i);
}

/// y rows = activation(gate + bias) * (up + bias) for the columns of one panel.
template <class V>
inline void finish_gated(const GemmArgs& g, const float* sums, int64_t stride, int64_t row0,
                         int64_t rows, int64_t col0) {
  const int64_t half = (g.n - col0 < kPanelCols ? g.n - col0 : kPanelCols) / 2;
  for (int64_t r = 0; r < rows; ++r) {
    float* y = g.y + (row0 + r) * g.y_stride + col0 / 2;
    const float* sum = sums + r * stride;
    fetch_results<V>(g, y, half, rows - r);
    for_each_vector<V>(half, [&](int64_t j, int64_t n) {
      // Sums of a panel's other columns may be loaded here, never stored.
      auto gate = V::load(sum + j), up = V::load(sum + half + j);
      if (g.bias != nullptr) {
        gate = V::add(gate, load_upto<V>(g.bias + col0 + j, n));
        up = V::add(up, load_upto<V>(g.bias + col0 + half + j, n));
      }
      store_upto<V>(y + j, V::mul(activate<V>(gate, g.activation), up), n);
    });
  }
}

/// y rows = activation(sums + bias) [+ y] for the columns of one panel; rows of sums lie `stride`
/// apart.
template <class V>
inline void finish_panel(const GemmArgs& g, const float* sums, int64_t row0, int64_t rows,
                         int64_t col0, int64_t stride = kPanelCols) {
  if (g.gated) {
    finish_gated<V>(g, sums, stride, row0, rows, col0);
    return;
  }
  const int64_t cols = g.n - col0 < kPanelCols ? g.n - col0 : kPanelCols;
  for (int64_t r = 0; r < rows; ++r) {
    float* y = g.y + (row0 + r) * g.y_stride + col0;
    const float* sum = sums + r * stride;
    fetch_results<V>(g, y, cols, rows - r);
    for_each_vector<V>(cols, [&](int64_t j, int64_t n) {
      auto v = V::load(sum + j);
      if (g.bias != nullptr) v = V::add(v, load_upto<V>(g.bias + col0 + j, n));
      v = activate<V>(v, g.activation);
      if (g.accumulate) v = V::add(v, load_upto<V>(y + j, n));
      store_upto<V>(y + j, v, n);
    });
  }
}

/// A block of a panel (kc steps of k) and what comes after it.
struct PanelBlock {
  const uint32_t* b;
  const char* next;
  int64_t kc;
  bool init;  // the first block: sums start from zero
};

/// `rows` rows of a's block times one block of a panel into sums [rows][64].
template <class V>
inline void multiply_block(const GemmArgs& g, const char* a, int64_t lda, int64_t rows,
                           const PanelBlock& block, float* sums, float* strips) {
  constexpr int64_t kCols = V::kStrip * V::kWidth;
  const bool bf16 = g.b_type == kElementBf16;
  const bool dot = bf16 && V::kHasDot;
  const auto [b, next, kc, init] = block;
  const int64_t bytes = (bf16 ? kc / 2 : kc) * kPanelBytes;
  if (g.few_rows) {
    if (dot) {
      stream_block<V, kStepDot>(a, lda, rows, b, sums, kc / 2, init);
    } else if (bf16) {
      stream_block<V, kStepWiden>(a, lda, rows, b, sums, kc / 2, init);
    } else {
      stream_block<V, kStepF32>(a, lda, rows, b, sums, kc, init);
    }
  } else if (dot) {
    static_assert(!V::kHasDot || kCols == kPanelCols);
    strip_rows<V, kStepDot>(a, lda, rows, b, kPanelBytes, sums, kc / 2, init, next, bytes);
  } else if (!bf16 && kCols == kPanelCols) {
    strip_rows<V, kStepF32>(a, lda, rows, b, kPanelBytes, sums, kc, init, next, bytes);
  } else {
    widen_block<V>(b, bf16, kc, strips);
    const int64_t share = bytes * kCols / kPanelCols;
    for (int64_t col = 0; col < kPanelCols; col += kCols) {
      strip_rows<V, kStepF32>(a, lda, rows, strips + col * kc, kCols * 4, sums + col, kc, init,
                              next + col / kCols * share, share);
    }
  }
}

/// Each task keeps its block of activations in the second cache while the panels of its group go
/// by.
template <class V>
void gemm_tasks(const GemmArgs& g, int64_t begin, int64_t end, float* scratch) {
  const int64_t panels = (g.n + kPanelCols - 1) / kPanelCols;
  const int64_t groups = (panels + g.group - 1) / g.group;
  const bool bf16 = g.b_type == kElementBf16;
  const int64_t panel_words = (bf16 ? g.k_pad / 2 : g.k_pad) * kPanelCols;
  const int64_t sums_step = g.chunk_rows * kPanelCols;
  // Words (4 bytes) of a row of a's block.
  const int64_t lda = bf16 && V::kHasDot ? kBlockK / 2 : kBlockK;
  for (int64_t task = begin; task < end; ++task) {
    const int64_t row0 = task / groups * g.chunk_rows;
    const int64_t rows = g.m - row0 < g.chunk_rows ? g.m - row0 : g.chunk_rows;
    const int64_t panel0 = task % groups * g.group;
    const int64_t count = panels - panel0 < g.group ? panels - panel0 : g.group;
    const auto* first = static_cast<const uint32_t*>(g.b) + panel0 * panel_words;
    for (int64_t k = 0; k < g.k_pad; k += kBlockK) {
      const int64_t kc = g.k_pad - k < kBlockK ? g.k_pad - k : kBlockK;
      const char* a = static_cast<const char*>(g.a) + (k / kBlockK * g.a_rows + row0) * lda * 4;
      const int64_t offset = (bf16 ? k / 2 : k) * kPanelCols;
      const int64_t next_offset = offset + (bf16 ? kc / 2 : kc) * kPanelCols;
      for (int64_t p = 0; p < count; ++p) {
        const uint32_t* b = first + p * panel_words + offset;
        const uint32_t* next = p + 1 < count ? b + panel_words : first + next_offset;
        multiply_block<V>(g, a, lda, rows, {b, reinterpret_cast<const char*>(next), kc, k == 0},
                          scratch + p * sums_step, scratch + g.group * sums_step);
      }
    }
    for (int64_t p = 0; p < count; ++p) {
      finish_panel<V>(g, scratch + p * sums_step, row0, rows, (panel0 + p) * kPanelCols);
    }
  }
}

/// Rows [begin, end), begin a multiple of kRowTile, in tiles. What a last tile has too many are
/// copies of its first row.
template <class V>
void pack_a_tiles(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad,
                  bool rounded, float* a, int64_t begin, int64_t end) {
  constexpr int64_t kTile = V::kRowTile;
  static_assert(kTile <= 8 && kBlockK % 8 == 0);
  const int64_t a_rows = (m + kTile - 1) / kTile * kTile;
  alignas(64) float stage[8][kBlockK];
  alignas(64) uint32_t square[8 * 8];
  const void* rows[8];
  for (int64_t row = begin; row < end; row += kTile) {
    for (int64_t k0 = 0; k0 < k_pad; k0 += kBlockK) {
      const int64_t n = k - k0 < 0 ? 0 : (k - k0 < kBlockK ? k - k0 : kBlockK);
      const int64_t n_pad = k_pad - k0 < kBlockK ? k_pad - k0 : kBlockK;
      for (int64_t r = 0; r < kTile; ++r) {
        const float* from = x + (row + r < end ? row + r : row) * x_stride + k0;
        for_each_vector<V>(n, [&](int64_t i, int64_t count) {
          const auto v = load_upto<V>(from + i, count);
          store_upto<V>(stage[r] + i, rounded ? V::round_bf16(v) : v, count);
        });
        for (int64_t i = n; i < n_pad; ++i) stage[r][i] = 0.0f;
      }
      float* to = a + (k0 / kBlockK * a_rows + row) * kBlockK;
      for (int64_t i = 0; i < n_pad; i += 8) {
        for (int64_t r = 0; r < 8; ++r) rows[r] = stage[r < kTile ? r : 0] + i;
        V::transpose8(rows, square, 8);
        for (int64_t j = 0; j < 8; ++j) {
          __builtin_memcpy(to + (i + j) * kTile, square + j * 8, kTile * sizeof(float));
        }
      }
    }
  }
}

template <class V>
void pack_a_rows(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad, int kind,
                 void* a, int64_t begin, int64_t end) {
  if (kind == kPackedTiles || kind == kPackedTilesRounded) {
    pack_a_tiles<V>(x, x_stride, m, k, k_pad, kind == kPackedTilesRounded, static_cast<float*>(a),
                    begin, end);
    return;
  }
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t k0 = 0; k0 < k_pad; k0 += kBlockK) {
      const float* from = x + row * x_stride + k0;
      const int64_t n = k - k0 < kBlockK ? k - k0 : kBlockK;
      const int64_t n_pad = k_pad - k0 < kBlockK ? k_pad - k0 : kBlockK;
      const int64_t offset = (k0 / kBlockK * m + row) * kBlockK;
      if (kind == kPackedBf16) {
        auto* to = static_cast<uint16_t*>(a) + offset;
        f32_to_bf16_row<V>(from, to, n);
        for (int64_t i = n; i < n_pad; ++i) to[i] = 0;
        continue;
      }
      auto* to = static_cast<float*>(a) + offset;
      for_each_vector<V>(n, [&](int64_t i, int64_t count) {
        auto v = load_upto<V>(from + i, count);
        if (kind == kPackedRounded) v = V::round_bf16(v);
        store_upto<V>(to + i, v, count);
      });
      for (int64_t i = n; i < n_pad; ++i) to[i] = 0.0f;
    }
  }
}

/// n stored elements as packed ones (f32 or bf16), any mix of the types.
template <class V>
inline void restore_row(const void* from, int stored, int64_t n, int packed, void* to) {
  if (stored == packed) {
    __builtin_memcpy(to, from, static_cast<unsigned long>(n) * (packed == kElementF32 ? 4 : 2));
  } else if (packed == kElementF32) {
    if (stored == kElementBf16) {
      bf16_to_f32_row<V>(from, to, n);
    } else {
      f16_to_f32_row<V>(from, to, n);
    }
  } else if (stored == kElementF32) {
    f32_to_bf16_row<V>(from, to, n);
  } else {
    float wide[128];
    f16_to_f32_row<V>(from, wide, n);
    f32_to_bf16_row<V>(wide, to, n);
  }
}

template <class V>
void pack_b_rows(const void* stored_rows, int64_t row_bytes, int stored, int64_t n_rows, int64_t k,
                 int64_t k_pad, int packed, int64_t col, void* panel) {
  constexpr int64_t kStage = 128;  // elements of 8 rows staged at a time: 4 KB, in the first cache
  const int64_t stored_size = stored == kElementF32 ? 4 : 2;
  const int64_t per_word = packed == kElementF32 ? 1 : 2;
  alignas(64) uint32_t stage[8][kStage];
  const void* rows[8];
  alignas(64) uint32_t square[8 * 8];
  for (int64_t r0 = 0; r0 < n_rows; r0 += 8) {
    const int64_t rows_here = n_rows - r0 < 8 ? n_rows - r0 : 8;
    for (int64_t k0 = 0; k0 < k_pad; k0 += kStage) {
      const int64_t kn = k - k0 < 0 ? 0 : (k - k0 < kStage ? k - k0 : kStage);
      const int64_t words = (k_pad - k0 < kStage ? k_pad - k0 : kStage) / per_word;
      if (kn < kStage || rows_here < 8) __builtin_memset(stage, 0, sizeof(stage));
      for (int64_t r = 0; r < rows_here && kn > 0; ++r) {
        const char* from =
            static_cast<const char*>(stored_rows) + (r0 + r) * row_bytes + k0 * stored_size;
        restore_row<V>(from, stored, kn, packed, stage[r]);
      }
      uint32_t* to = static_cast<uint32_t*>(panel) + k0 / per_word * kPanelCols + col + r0;
      for (int64_t w = 0; w < words; w += 8) {
        for (int r = 0; r < 8; ++r) rows[r] = stage[r] + w;
        if (rows_here == 8) {
          V::transpose8(rows, to + w * kPanelCols, kPanelCols);
          continue;
        }
        V::transpose8(rows, square, 8);
        for (int64_t i = 0; i < 8; ++i) {
          for (int64_t r = 0; r < rows_here; ++r) to[(w + i) * kPanelCols + r] = square[i * 8 + r];
        }
      }
    }
  }
}

}  // namespace reelm::kernels
