// Softmax attention over tiles: see kernels/attention.h for what it computes.
//
// Prompts: a tile of rows (query positions x the query heads that share a kv head; how many, the
// rule or the tuner says) goes over the keys in tiles of 64, keeping a running maximum and sum per
// row (Milakov & Gimelshein 2018; FlashAttention). Keys are transposed once per tile, which 192
// rows pay back, and both products run through the micro-kernel of gemm.h; with them, at head_dim
// 128, everything takes 360 KB of the second cache, 1 MB with 624. How many rows a tile has changes
// no row's sums; how many keys does: a row's earlier sums are scaled at the end of each tile of
// keys. Scores are kept in units of log 2, so that exponentials are 2^x. Few rows (decoding) go
// another way: attention_decode.h.
#pragma once

#include "../simd/gemm.h"

namespace reelm::kernels {

inline constexpr float kMinusInf = -__builtin_inff();

/// The parts of attention_scratch_floats(), for rows of `dp` floats and tiles of kKeys keys.
template <int64_t kKeys>
struct TileScratch {
  float* q;       // [tile rows][dp], scaled
  float* out;     // [tile rows][dp], sums
  float* scores;  // [tile rows][kKeys]
  float* top;     // [tile rows] running maximum
  float* total;   // [tile rows] running sum of weights
  float* keys;    // [dp rounded up to 8][kKeys]
  float* values;  // [kKeys][dp]
  float* stage;   // [8][dp rounded up to 8]
};

template <int64_t kKeys>
inline TileScratch<kKeys> split_scratch(float* p, int64_t rows, int64_t dp) {
  TileScratch<kKeys> s;
  s.q = p;
  s.out = s.q + rows * dp;
  s.scores = s.out + rows * dp;
  s.keys = s.scores + rows * kKeys;
  s.values = s.keys + (dp + 7) / 8 * 8 * kKeys;
  s.stage = s.values + kKeys * dp;
  s.top = s.stage + 8 * ((dp + 7) / 8 * 8);
  s.total = s.top + rows;
  return s;
}

template <class V>
inline int64_t pad_to_width(int64_t d) {
  return (d + V::kWidth - 1) / V::kWidth * V::kWidth;
}

/// How a tile multiplies: kMathF32 as it is; kMathRounded in f32 with q, k, v and the weights
/// rounded to bf16; kMathDot with the bf16 dot product, which gives the same but for the order of
/// sums.
enum TileMath : int { kMathF32, kMathRounded, kMathDot };

/// Whether the set multiplies whole tiles of 16 rows, 16 columns and 32 steps of bf16 (amx/), as
/// V::multiply. Only with kMathDot.
template <class V, TileMath kMath>
inline constexpr bool kInTiles = false;
template <class V>
requires requires { typename V::Tiles; }
inline constexpr bool kInTiles<V, kMathDot> = true;

/// Elements of a row of q, and of keys as columns: whole steps of the product.
template <class V, TileMath kMath>
inline int64_t padded_steps(int64_t head_dim, int64_t dp) {
  return kInTiles<V, kMath> ? (head_dim + 31) / 32 * 32 : dp;
}

/// Rows that are multiplied together.
template <class V, TileMath kMath>
inline constexpr int64_t kRowsTogether = kInTiles<V, kMath> ? kTileRows : V::kRowTile;

/// Where row `key` of a kv head begins, in elements.
inline int64_t row_offset(const KvArgs& kv, int64_t kv_head, int64_t key) {
  return kv_head * kv.head + key * kv.row;
}

/// The scale of that row, with kElementInt8.
inline float row_scale(const KvArgs& kv, int64_t kv_head, int64_t key) {
  return kv.scales[kv_head * kv.scale_head + key * kv.scale_row];
}

/// Row `key` of a kv head as floats, zeros up to dp.
template <class V>
inline void load_row(const KvArgs& kv, int type, int64_t kv_head, int64_t key, int64_t d,
                     int64_t dp, bool round, float* to) {
  const int64_t offset = row_offset(kv, kv_head, key);
  if (type == kElementBf16) {
    bf16_to_f32_row<V>(static_cast<const uint16_t*>(kv.data) + offset, to, d);
  } else {
    const auto scale = V::set1(type == kElementInt8 ? row_scale(kv, kv_head, key) : 1.0f);
    for_each_vector<V>(d, [&](int64_t i, int64_t n) {
      const auto v =
          type == kElementInt8
              ? V::mul(load_i8_upto<V>(static_cast<const int8_t*>(kv.data) + offset + i, n), scale)
              : load_upto<V>(static_cast<const float*>(kv.data) + offset + i, n);
      store_upto<V>(to + i, round ? V::round_bf16(v) : v, n);
    });
  }
  for (int64_t i = d; i < dp; ++i) to[i] = 0.0f;
}

/// Keys [key0, key0 + n) of a kv head as columns: floats [dp][kKeys], or with kMathDot pairs
/// [dp / 2][kKeys], where dp is of padded_steps(). Zeros in the columns up to the next multiple of
/// 8.
template <class V, TileMath kMath, int64_t kKeys>
inline void transpose_keys(const AttentionArgs& a, int64_t kv_head, int64_t key0, int64_t n,
                           int64_t dp, const TileScratch<kKeys>& s) {
  constexpr bool kDot = kMath == kMathDot;
  const int64_t element = a.kv_type == kElementF32 ? 4 : a.kv_type == kElementBf16 ? 2 : 1;
  const char* starts[8];
  const void* rows[8];
  // Words of a row; dp itself may be a multiple of 4 only (portable/).
  const int64_t words = kDot ? dp / 2 : dp;
  const int64_t words8 = (words + 7) / 8 * 8;
  // Rows that need neither a change nor padding (past head_dim is no memory of theirs) are read
  // where they lie.
  const bool direct = kDot ? a.kv_type == kElementBf16 && a.head_dim == words8 * 2
                           : kMath == kMathF32 && a.kv_type == kElementF32 && a.head_dim == words8;
  for (int64_t j = 0; j < n; j += 8) {
    for (int64_t i = 0; i < 8; ++i) {
      const char* from =
          static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, key0 + j + i) * element;
      float* row = s.stage + i * words8;
      starts[i] = reinterpret_cast<const char*>(row);
      if (j + i >= n) {
        __builtin_memset(row, 0, static_cast<unsigned long>(words8) * 4);
      } else if (direct) {
        starts[i] = from;
      } else if constexpr (kDot) {
        __builtin_memset(row, 0, static_cast<unsigned long>(words8) * 4);
        if (a.kv_type == kElementInt8) {
          i8_to_bf16_row<V>(from, row_scale(a.k, kv_head, key0 + j + i), a.head_dim, row);
        } else {
          restore_row<V>(from, a.kv_type, a.head_dim, kElementBf16, row);
        }
      } else {
        load_row<V>(a.k, a.kv_type, kv_head, key0 + j + i, a.head_dim, words8,
                    kMath == kMathRounded, row);
      }
    }
    for (int64_t c = 0; c < words8; c += 8) {
      for (int i = 0; i < 8; ++i) rows[i] = starts[i] + c * 4;
      V::transpose8(rows, s.keys + c * kKeys + j, kKeys);
    }
  }
}

/// Values of keys [key0, key0 + n): floats [n][dp], or with kMathDot pairs of keys [n / 2][dp][2].
template <class V, TileMath kMath, int64_t kKeys>
inline void load_values(const AttentionArgs& a, int64_t kv_head, int64_t key0, int64_t n,
                        int64_t dp, const TileScratch<kKeys>& s) {
  const auto load = [&](int64_t j, float* to) {
    load_row<V>(a.v, a.kv_type, kv_head, key0 + j, a.head_dim, dp, kMath == kMathRounded, to);
  };
  if constexpr (kMath == kMathDot) {
    float* first = s.stage;
    float* second = s.stage + dp;
    for (int64_t j = 0; j < n; j += 2) {
      load(j, first);
      if (j + 1 < n) {
        load(j + 1, second);
      } else {
        __builtin_memset(second, 0, static_cast<unsigned long>(dp) * 4);
      }
      for (int64_t i = 0; i < dp; i += V::kWidth) {
        V::store(s.values + j / 2 * dp + i, V::to_pairs(V::load(first + i), V::load(second + i)));
      }
    }
    // A step of tiles is 32 keys: what weighs nothing there must not be a NaN either.
    if constexpr (kInTiles<V, kMath>) {
      const int64_t from = (n + 1) / 2, to = (n + 31) / 32 * 16;
      __builtin_memset(s.values + from * dp, 0, static_cast<unsigned long>((to - from) * dp) * 4);
    }
  } else {
    for (int64_t j = 0; j < n; ++j) load(j, s.values + j * dp);
  }
}

/// out[M][dp] += a[M][steps] * values[steps][dp], strip by strip. Five registers (head_dim 80 with
/// AVX-512) go as 3 + 2: a strip of one would leave too few sums in flight.
template <class V, int M, StepKind kKind>
inline void weigh_values(const void* weights, int64_t lda, const void* values, int64_t ldb,
                         int64_t dp, float* out, int64_t steps, bool init) {
  const auto* b = static_cast<const char*>(values);
  int64_t col = 0;
  while (col < dp) {
    const auto run = [&]<int C>() {
      micro<V, M, C, kKind, false>(weights, lda, b + col * 4, ldb, out + col, dp, steps, init);
      col += C * V::kWidth;
    };
    const int64_t left = (dp - col) / V::kWidth;
    if constexpr (V::kStrip >= 4) {
      if (left >= 4 && left != 5) {
        run.template operator()<4>();
        continue;
      }
      if (left >= 3) {
        run.template operator()<3>();
        continue;
      }
    }
    if (left >= 2) {
      run.template operator()<2>();
    } else {
      run.template operator()<1>();
    }
  }
}

/// Scores of one row become weights: the running maximum and sum move on, earlier sums are scaled.
/// `limit` keys of the tile's `n` are visible to the row. With kMathDot the weights are left as
/// bf16 in the front half of the row.
template <class V, TileMath kMath>
inline void soften_row(float* scores, int64_t limit, int64_t n, float* top, float* total,
                       float* out, int64_t dp) {
  // The keys of a step of tiles are 32: weights of 0 up to there.
  const int64_t n_pad = kInTiles<V, kMath> ? (n + 31) / 32 * 32 : pad_to_width<V>(n);
  for_each_vector<V>(n_pad - limit, [&](int64_t i, int64_t count) {
    store_upto<V>(scores + limit + i, V::set1(kMinusInf), count);
  });
  auto top_v = V::set1(*top);
  for (int64_t j = 0; j < n_pad; j += V::kWidth) top_v = V::max(top_v, V::load(scores + j));
  const float new_top = V::reduce_max(top_v);
  if (new_top == kMinusInf) {  // nothing visible so far: weights are 0
    for (int64_t j = 0; j < n_pad; j += V::kWidth) V::store(scores + j, V::zero());
    return;
  }
  if (new_top > *top) {
    const auto factor = exp2_ps<V>(V::set1(*top - new_top));
    for (int64_t i = 0; i < dp; i += V::kWidth) V::store(out + i, V::mul(V::load(out + i), factor));
    float lanes[V::kWidth];
    V::store(lanes, factor);
    *total *= lanes[0];
    *top = new_top;
  }
  auto sum = V::zero();
  const auto shift = V::set1(new_top);
  for (int64_t j = 0; j < n_pad; j += V::kWidth) {
    const auto w = exp2_ps<V>(V::sub(V::load(scores + j), shift));
    sum = V::add(sum, w);
    if constexpr (kMath == kMathDot) {
      V::store_bf16_number(reinterpret_cast<uint16_t*>(scores) + j, w);
    } else {
      V::store(scores + j, kMath == kMathRounded ? V::round_bf16_number(w) : w);
    }
  }
  *total += V::reduce_add(sum);
}

/// Scaled rows of floats, or of bf16 with kMathDot; dp of padded_steps() apart.
template <class V, TileMath kMath>
inline void load_queries(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t rows,
                         int64_t dp, float* to) {
  const int64_t group = a.heads / a.kv_heads;
  const auto scale = V::set1(a.scale * kLog2E);
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = (begin + r) / group, head = kv_head * group + (begin + r) % group;
    const float* from = a.q + position * a.q_row + head * a.q_head;
    for_each_vector<V>(a.head_dim, [&](int64_t i, int64_t n) {
      const auto v = V::mul(load_upto<V>(from + i, n), scale);
      if constexpr (kMath == kMathDot) {
        V::store_bf16(reinterpret_cast<uint16_t*>(to) + r * dp + i, v);
      } else {
        V::store(to + r * dp + i, kMath == kMathRounded ? V::round_bf16(v) : v);
      }
    });
  }
}

/// Keys visible to row `row` (position * group + head in group): all, or those up to its position.
template <class V>
inline int64_t visible_keys(const AttentionArgs& a, int64_t row) {
  if (!a.causal) return a.n_k;
  const int64_t n = a.n_k - a.n_q + row / (a.heads / a.kv_heads) + 1;
  return n < 0 ? 0 : n;
}

/// Scores of all rows of a tile (padded to row tiles) against n transposed keys; dp of
/// padded_steps().
template <class V, TileMath kMath, int64_t kKeys>
inline void score_tile(const TileScratch<kKeys>& s, int64_t rows, int64_t n, int64_t dp) {
  if constexpr (kInTiles<V, kMath>) {
    V::multiply({.a = reinterpret_cast<const char*>(s.q),
                 .a_row = dp * 2,
                 .a_tile = kTileRows * dp * 2,
                 .a_step = 64,
                 .b = reinterpret_cast<const char*>(s.keys),
                 .b_row = kKeys * 4,
                 .c = s.scores,
                 .c_row = kKeys * 4,
                 .steps = dp / 32,
                 .init = true},
                rows / kTileRows, (n + 15) / 16);
    return;
  }
  constexpr StepKind kKind = kMath == kMathDot ? kStepDot : kStepF32;
  constexpr int64_t kCols = V::kStrip * V::kWidth;
  const int64_t words = kMath == kMathDot ? dp / 2 : dp;
  for (int64_t col = 0; col < n; col += kCols) {
    for (int64_t r = 0; r < rows; r += V::kRowTile) {
      micro<V, V::kRowTile, V::kStrip, kKind, false>(s.q + r * words, words, s.keys + col,
                                                     kKeys * 4, s.scores + r * kKeys + col, kKeys,
                                                     words, true);
    }
  }
}

/// Sums of all rows (whole row tiles) += weights times n values.
template <class V, TileMath kMath, int64_t kKeys>
inline void add_values(const TileScratch<kKeys>& s, int64_t rows, int64_t n, int64_t dp) {
  if constexpr (kInTiles<V, kMath>) {
    V::multiply({.a = reinterpret_cast<const char*>(s.scores),
                 .a_row = kKeys * 4,
                 .a_tile = kTileRows * kKeys * 4,
                 .a_step = 64,
                 .b = reinterpret_cast<const char*>(s.values),
                 .b_row = dp * 4,
                 .c = s.out,
                 .c_row = dp * 4,
                 .steps = (n + 31) / 32,
                 .init = false},
                rows / kTileRows, dp / 16);
    return;
  }
  constexpr StepKind kKind = kMath == kMathDot ? kStepDot : kStepF32;
  for (int64_t r = 0; r < rows; r += V::kRowTile) {
    weigh_values<V, V::kRowTile, kKind>(s.scores + r * kKeys, kKeys, s.values, dp * 4, dp,
                                        s.out + r * dp, kMath == kMathDot ? (n + 1) / 2 : n, false);
  }
}

/// Brings the rows of a key and of its value near. Rows of one head lie a whole position apart (15
/// KB in the tower of Qwen2-VL), where no prefetcher of a CPU follows. Always inline, or GCC 12
/// drops it as a call without effects.
template <class V>
[[gnu::always_inline]] inline void fetch_key_and_value(const AttentionArgs& a, int64_t kv_head,
                                                       int64_t key) {
  const int64_t element = a.kv_type == kElementF32 ? 4 : a.kv_type == kElementBf16 ? 2 : 1;
  const auto* k = static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, key) * element;
  const auto* v = static_cast<const char*>(a.v.data) + row_offset(a.v, kv_head, key) * element;
  for (int64_t i = 0; i < a.head_dim * element; i += 64) {
    V::prefetch_far(k + i);
    V::prefetch_far(v + i);
  }
}

template <class V, TileMath kMath, int64_t kKeys>
void attention_tile_math(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t end,
                         float* scratch) {
  const int64_t dp = pad_to_width<V>(a.head_dim);
  const int64_t steps = padded_steps<V, kMath>(a.head_dim, dp);
  const TileScratch<kKeys> s = split_scratch<kKeys>(scratch, a.tile.rows, dp);
  const int64_t rows = end - begin;
  constexpr int64_t kRows = kRowsTogether<V, kMath>;
  const int64_t rows_pad = (rows + kRows - 1) / kRows * kRows;
  // Rows that only fill up the last row tile stay zero; so do elements past head_dim.
  for (int64_t i = 0; i < rows_pad * dp; i += V::kWidth) {
    V::store(s.q + i, V::zero());
    V::store(s.out + i, V::zero());
  }
  load_queries<V, kMath>(a, kv_head, begin, rows, steps, s.q);
  for (int64_t r = 0; r < rows; ++r) {
    s.top[r] = kMinusInf;
    s.total[r] = 0.0f;
  }
  const int64_t keys_end = visible_keys<V>(a, end - 1);  // above the diagonal nothing is computed
  for (int64_t key0 = 0; key0 < keys_end; key0 += kKeys) {
    const int64_t n = keys_end - key0 < kKeys ? keys_end - key0 : kKeys;
    transpose_keys<V, kMath>(a, kv_head, key0, n, steps, s);
    load_values<V, kMath>(a, kv_head, key0, n, dp, s);
    score_tile<V, kMath>(s, rows_pad, n, steps);
    // The next tile comes near while this one's rows are softened, a key a row.
    int64_t next = key0 + n;
    const int64_t near = next + kKeys < keys_end ? next + kKeys : keys_end;
    for (int64_t r = 0; r < rows; ++r) {
      if (next < near) fetch_key_and_value<V>(a, kv_head, next++);
      int64_t limit = visible_keys<V>(a, begin + r) - key0;
      limit = limit < 0 ? 0 : limit < n ? limit : n;
      soften_row<V, kMath>(s.scores + r * kKeys, limit, n, s.top + r, s.total + r, s.out + r * dp,
                           dp);
    }
    add_values<V, kMath>(s, rows_pad, n, dp);
  }
  const int64_t group = a.heads / a.kv_heads;
  for (int64_t r = 0; r < rows; ++r) {
    const int64_t position = (begin + r) / group, head = kv_head * group + (begin + r) % group;
    float* to = a.out + position * a.out_row + head * a.out_head;
    const auto factor = V::set1(s.total[r] > 0.0f ? 1.0f / s.total[r] : 0.0f);
    for_each_vector<V>(a.head_dim, [&](int64_t i, int64_t n) {
      store_upto<V>(to + i, V::mul(V::load(s.out + r * dp + i), factor), n);
    });
  }
}

template <class V, int64_t kKeys>
inline void attention_tile_keys(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t end,
                                float* scratch) {
  if (!a.bf16_math) {
    attention_tile_math<V, kMathF32, kKeys>(a, kv_head, begin, end, scratch);
  } else if constexpr (kInTiles<V, kMathDot>) {
    const typename V::Tiles tiles;
    attention_tile_math<V, kMathDot, kKeys>(a, kv_head, begin, end, scratch);
  } else if constexpr (V::kHasDot) {
    attention_tile_math<V, kMathDot, kKeys>(a, kv_head, begin, end, scratch);
  } else {
    attention_tile_math<V, kMathRounded, kKeys>(a, kv_head, begin, end, scratch);
  }
}

template <class V>
void attention_tile(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t end,
                    float* scratch) {
  if (a.tile.keys == kAttentionKeysLong) {
    attention_tile_keys<V, kAttentionKeysLong>(a, kv_head, begin, end, scratch);
  } else {
    attention_tile_keys<V, kAttentionKeys>(a, kv_head, begin, end, scratch);
  }
}

/// See KernelTable::soften.
template <class V>
void soften_scores(float* scores, int64_t limit, int64_t n, float* total) {
  float top = kMinusInf;
  *total = 0.0f;
  soften_row<V, kMathF32>(scores, limit, n, &top, total, nullptr, 0);
}

}  // namespace reelm::kernels
