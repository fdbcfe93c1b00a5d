// Softmax attention over tiles: see kernels/attention.h for what it computes.
//
// Prompts: a tile of rows (query positions x the query heads that share a kv head; how many, the
// rule or the tuner says) goes over the keys in tiles of 64 or 128, keeping a running maximum and
// sum per row (Milakov & Gimelshein 2018; FlashAttention). Within it, V::kAttentionColumns rows at
// a time are a block, and everything of a block lies on its side: queries, scores, weights and sums
// have a column for each row, so that maxima and sums over keys are taken register by register, 16
// rows at a time with AVX-512, and pairs of weights come out as the second product wants them. What
// is multiplied from the left, [rows of keys] and [columns of values], is made once for each tile
// of keys. 1,248 rows take 0.7 MB of the second cache at head_dim 80.
//
// How many rows a tile or a block has changes no row's sums; how many keys does: a row's earlier
// sums are scaled at the end of each tile of keys. Scores are kept in units of log 2, so that
// exponentials are 2^x. Few rows (decoding) go another way: attention_decode.h.
#pragma once

#include "../simd/gemm.h"
#include "../simd/soften.h"

namespace reelm::kernels {

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

/// Sizes of a tile with these registers and this way to multiply. In 4-byte words: of floats, or
/// of pairs of bf16 with kMathDot.
template <class V, TileMath kMath>
struct TileSizes {
  static constexpr bool kDot = kMath == kMathDot;
  static constexpr int64_t kColumns = [] {
    if constexpr (kInTiles<V, kMath>) {
      return V::kTileColumns;
    } else {
      static_assert(V::kAttentionColumns % (V::kTallStrip * V::kWidth) == 0);
      return V::kAttentionColumns;
    }
  }();
  static_assert(kColumns <= kAttentionColumnsMost && kColumns % 8 == 0);
  /// Rows that are multiplied together, of keys or of values.
  static constexpr int64_t kTogether = kInTiles<V, kMath> ? kTileRows : V::kTallTile;
  static_assert(kAttentionKeys % kTogether == 0 && 16 % kTogether == 0);

  explicit TileSizes(int64_t d)
      : dp(padded_head_dim(d)),
        q_words((kInTiles<V, kMath> ? (d + 31) / 32 * 32 : dp) / (kDot ? 2 : 1)) {}
  const int64_t dp;       // rows of values and of sums
  const int64_t q_words;  // of a key or a query: whole steps of the product

  /// Keys up to whole steps of the product with values; what lies behind n weighs nothing.
  static int64_t weight_steps(int64_t n) {
    return kInTiles<V, kMath> ? (n + 31) / 32 * 32 : kDot ? (n + 1) / 2 * 2 : n;
  }
};

/// The parts of attention_scratch_floats().
struct TileScratch {
  float* q;       // [blocks][q_words][columns], scaled
  float* out;     // [blocks][dp][columns], sums
  float* top;     // [blocks][columns] running maximum
  float* total;   // [blocks][columns] running sum of weights
  float* scores;  // [keys][columns] of one block
  float* keys;    // [keys][q_words]
  float* values;  // [dp][keys], words with kMathDot: [dp][keys / 2]
  float* stage;   // 10 rows
};

inline TileScratch split_scratch(float* p, AttentionTile tile, int64_t head_dim) {
  const int64_t rows = tile.rows + kAttentionColumnsMost, dp = padded_head_dim(head_dim);
  TileScratch s;
  s.q = p;
  s.out = s.q + rows * dp;
  s.top = s.out + rows * dp;
  s.total = s.top + rows;
  s.scores = s.total + rows;
  s.keys = s.scores + tile.keys * kAttentionColumnsMost;
  s.values = s.keys + tile.keys * dp;
  s.stage = s.values + tile.keys * dp;
  return s;
}

/// Some rows of a tile, at most a column for each.
struct RowBlock {
  int64_t row;   // the first of them, of all rows of the kv head
  int64_t rows;  // how many there are
  float* q;      // its parts of TileScratch
  float* out;
  float* top;
  float* total;
};

/// Where row `key` of a kv head begins, in elements.
inline int64_t row_offset(const KvArgs& kv, int64_t kv_head, int64_t key) {
  return kv_head * kv.head + key * kv.row;
}

/// The scale of that row, with kElementInt8.
inline float row_scale(const KvArgs& kv, int64_t kv_head, int64_t key) {
  return kv.scales[kv_head * kv.scale_head + key * kv.scale_row];
}

/// Row `key` of a kv head as floats, zeros up to `padded`.
template <class V>
inline void load_row(const KvArgs& kv, int type, int64_t kv_head, int64_t key, int64_t d,
                     int64_t padded, bool round, float* to) {
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
  for (int64_t i = d; i < padded; ++i) to[i] = 0.0f;
}

/// Keys [key0, key0 + n) of a kv head, [n][q_words]; zeros in the rows up to whole tiles.
template <class V, TileMath kMath>
inline void load_keys(const AttentionArgs& a, int64_t kv_head, int64_t key0, int64_t n,
                      const TileSizes<V, kMath>& sizes, const TileScratch& s) {
  const int64_t element = kv_element_bytes(a.kv_type);
  const int64_t words = sizes.q_words;
  constexpr int64_t kTogether = TileSizes<V, kMath>::kTogether;
  for (int64_t j = 0; j < (n + kTogether - 1) / kTogether * kTogether; ++j) {
    float* row = s.keys + j * words;
    if (kMath == kMathDot || j >= n) {
      __builtin_memset(row, 0, static_cast<unsigned long>(words) * 4);
    }
    if (j >= n) continue;
    if constexpr (kMath == kMathDot) {
      const char* from =
          static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, key0 + j) * element;
      if (a.kv_type == kElementInt8) {
        i8_to_bf16_row<V>(from, row_scale(a.k, kv_head, key0 + j), a.head_dim, row);
      } else {
        restore_row<V>(from, a.kv_type, a.head_dim, kElementBf16, row);
      }
    } else {
      load_row<V>(a.k, a.kv_type, kv_head, key0 + j, a.head_dim, words, kMath == kMathRounded, row);
    }
  }
}

/// Values of keys [key0, key0 + n) as columns: floats [dp][kKeys], or with kMathDot pairs of keys
/// [dp][kKeys / 2]; zeros in the columns up to whole steps.
template <class V, TileMath kMath, int64_t kKeys>
inline void load_values(const AttentionArgs& a, int64_t kv_head, int64_t key0, int64_t n,
                        const TileSizes<V, kMath>& sizes, const TileScratch& s) {
  constexpr bool kDot = kMath == kMathDot;
  constexpr int64_t kKeysAWord = kDot ? 2 : 1, kWords = kKeys / kKeysAWord;
  const int64_t dp = sizes.dp, words = sizes.weight_steps(n) / kKeysAWord;
  const auto load = [&](int64_t j, float* to) {
    if (j < n) {
      load_row<V>(a.v, a.kv_type, kv_head, key0 + j, a.head_dim, dp, kMath == kMathRounded, to);
    } else {
      __builtin_memset(to, 0, static_cast<unsigned long>(dp) * 4);
    }
  };
  float* first = s.stage + 8 * dp;
  float* second = first + dp;
  const void* rows[8];
  for (int64_t word = 0; word < words; word += 8) {
    for (int64_t i = 0; i < 8; ++i) {
      float* row = s.stage + i * dp;
      if constexpr (kDot) {
        load((word + i) * 2, first);
        load((word + i) * 2 + 1, second);
        for (int64_t c = 0; c < dp; c += V::kWidth) {
          V::store(row + c, V::to_pairs(V::load(first + c), V::load(second + c)));
        }
      } else {
        load(word + i, row);
      }
    }
    for (int64_t c = 0; c < dp; c += 8) {
      for (int i = 0; i < 8; ++i) rows[i] = s.stage + i * dp + c;
      V::transpose8(rows, s.values + c * kWords + word, kWords);
    }
  }
}

/// Where a row of a kv head lies in q or in the result, [position][head].
inline int64_t row_place(const AttentionArgs& a, int64_t kv_head, int64_t row, int64_t position,
                         int64_t head) {
  const int64_t group = a.heads / a.kv_heads;
  return row / group * position + (kv_head * group + row % group) * head;
}

/// The block's queries as columns, scaled; zeros in columns that have no row.
template <class V, TileMath kMath>
inline void load_queries(const AttentionArgs& a, int64_t kv_head, const RowBlock& block,
                         const TileSizes<V, kMath>& sizes, const TileScratch& s) {
  constexpr int64_t kColumns = TileSizes<V, kMath>::kColumns;
  const int64_t words = sizes.q_words;
  const auto scale = V::set1(a.scale * kLog2E);
  const void* starts[8];
  for (int64_t column = 0; column < kColumns; column += 8) {
    __builtin_memset(s.stage, 0, static_cast<unsigned long>(8 * words) * 4);
    for (int64_t i = 0; i < 8 && column + i < block.rows; ++i) {
      const float* from = a.q + row_place(a, kv_head, block.row + column + i, a.q_row, a.q_head);
      float* row = s.stage + i * words;
      for_each_vector<V>(a.head_dim, [&](int64_t d, int64_t n) {
        const auto v = V::mul(load_upto<V>(from + d, n), scale);
        if constexpr (kMath == kMathDot) {
          V::store_bf16(reinterpret_cast<uint16_t*>(row) + d, v);
        } else {
          store_upto<V>(row + d, kMath == kMathRounded ? V::round_bf16(v) : v, n);
        }
      });
    }
    for (int64_t word = 0; word < words; word += 8) {
      for (int i = 0; i < 8; ++i) starts[i] = s.stage + i * words + word;
      V::transpose8(starts, block.q + word * kColumns + column, kColumns);
    }
  }
}

/// Keys visible to row `row` (position * group + head in group): all, or those up to its position.
inline int64_t visible_keys(const AttentionArgs& a, int64_t row) {
  if (!a.causal) return a.n_k;
  const int64_t n = a.n_k - a.n_q + row / (a.heads / a.kv_heads) + 1;
  return n < 0 ? 0 : n;
}

/// c [rows][columns] (+)= a [rows][steps words of `a_row`] times b [steps words][columns]; rows up
/// to whole tiles. Steps of the tiles of AMX are 16 words.
template <class V, TileMath kMath>
inline void multiply_columns(const float* a, int64_t a_row, const float* b, float* c, int64_t rows,
                             int64_t words, bool init) {
  constexpr int64_t kColumns = TileSizes<V, kMath>::kColumns;
  if constexpr (kInTiles<V, kMath>) {
    V::multiply({.a = reinterpret_cast<const char*>(a),
                 .a_row = a_row * 4,
                 .a_tile = kTileRows * a_row * 4,
                 .a_step = 64,
                 .b = reinterpret_cast<const char*>(b),
                 .b_row = kColumns * 4,
                 .c = c,
                 .c_row = kColumns * 4,
                 .steps = words / 16,
                 .init = init},
                (rows + kTileRows - 1) / kTileRows, kColumns / 16);
  } else {
    constexpr StepKind kKind = kMath == kMathDot ? kStepDot : kStepF32;
    for (int64_t col = 0; col < kColumns; col += V::kTallStrip * V::kWidth) {
      for (int64_t r = 0; r < rows; r += V::kTallTile) {
        micro<V, V::kTallTile, V::kTallStrip, kKind, false>(a + r * a_row, a_row, b + col,
                                                            kColumns * 4, c + r * kColumns + col,
                                                            kColumns, words, init);
      }
    }
  }
}

/// Brings the rows of a key and of its value near. Rows of one head lie a whole position apart (15
/// KB in the tower of Qwen2-VL), where no prefetcher of a CPU follows. Always inline, or GCC 12
/// drops it as a call without effects.
template <class V>
[[gnu::always_inline]] inline void fetch_key_and_value(const AttentionArgs& a, int64_t kv_head,
                                                       int64_t key) {
  const int64_t element = kv_element_bytes(a.kv_type);
  const auto* k = static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, key) * element;
  const auto* v = static_cast<const char*>(a.v.data) + row_offset(a.v, kv_head, key) * element;
  for (int64_t i = 0; i < a.head_dim * element; i += 64) {
    V::prefetch_far(k + i);
    V::prefetch_far(v + i);
  }
}

/// A block's columns into the rows of the result, divided by their sums of weights; zeros for rows
/// that saw no key.
template <class V, TileMath kMath>
inline void store_block(const AttentionArgs& a, int64_t kv_head, const RowBlock& block,
                        const TileSizes<V, kMath>& sizes, const TileScratch& s) {
  constexpr int64_t kColumns = TileSizes<V, kMath>::kColumns;
  const int64_t dp = sizes.dp;
  if (visible_keys(a, block.row + block.rows - 1) == 0) {  // no tile of keys was for it
    __builtin_memset(block.out, 0, static_cast<unsigned long>(dp * kColumns) * 4);
  }
  for (int64_t col = 0; col < kColumns; col += V::kWidth) {
    const auto sum = V::load(block.total + col);
    const auto factor = V::select_less(V::zero(), sum, V::div(V::set1(1.0f), sum), V::zero());
    for (int64_t i = 0; i < dp; ++i) {
      float* p = block.out + i * kColumns + col;
      V::store(p, V::mul(V::load(p), factor));
    }
  }
  const void* starts[8];
  for (int64_t column = 0; column < block.rows; column += 8) {
    for (int64_t i = 0; i < dp; i += 8) {
      for (int64_t k = 0; k < 8; ++k) starts[k] = block.out + (i + k) * kColumns + column;
      V::transpose8(starts, s.stage + i, dp);
    }
    for (int64_t k = 0; k < 8 && column + k < block.rows; ++k) {
      float* to = a.out + row_place(a, kv_head, block.row + column + k, a.out_row, a.out_head);
      for_each_vector<V>(a.head_dim, [&](int64_t i, int64_t n) {
        store_upto<V>(to + i, load_upto<V>(s.stage + k * dp + i, n), n);
      });
    }
  }
}

/// A block's rows take in keys [key0, key0 + n), which lie in the scratch.
template <class V, TileMath kMath, int64_t kKeys>
inline void attend(const AttentionArgs& a, const RowBlock& block, int64_t key0, int64_t n,
                   const TileSizes<V, kMath>& sizes, const TileScratch& s) {
  using Sizes = TileSizes<V, kMath>;
  constexpr int64_t kColumns = Sizes::kColumns, kKeysAWord = Sizes::kDot ? 2 : 1;
  constexpr WeightKind kWeights = kMath == kMathDot       ? kWeightPairs
                                  : kMath == kMathRounded ? kWeightRounded
                                                          : kWeightF32;
  const int64_t fewest = visible_keys(a, block.row) - key0;
  const int64_t most = visible_keys(a, block.row + block.rows - 1) - key0;
  if (most <= 0) return;
  const int64_t seen = most < n ? most : n, steps = Sizes::weight_steps(seen);
  const bool masked = fewest < seen;
  float limits[kColumns];
  for (int64_t i = 0; masked && i < kColumns; ++i) {
    const int64_t row = block.row + (i < block.rows ? i : block.rows - 1);
    limits[i] = static_cast<float>(visible_keys(a, row) - key0);
  }
  multiply_columns<V, kMath>(s.keys, sizes.q_words, block.q, s.scores, seen, sizes.q_words, true);
  soften_columns<V, kWeights, kColumns>({.scores = s.scores,
                                         .n = seen,
                                         .n_pad = steps,
                                         .limits = masked ? limits : nullptr,
                                         .top = block.top,
                                         .total = block.total,
                                         .sums = key0 == 0 ? nullptr : block.out,
                                         .sum_rows = sizes.dp});
  multiply_columns<V, kMath>(s.values, kKeys / kKeysAWord, s.scores, block.out, sizes.dp,
                             steps / kKeysAWord, key0 == 0);
}

template <class V, TileMath kMath, int64_t kKeys>
void attention_tile_math(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t end,
                         float* scratch) {
  constexpr int64_t kColumns = TileSizes<V, kMath>::kColumns;
  const TileSizes<V, kMath> sizes(a.head_dim);
  const TileScratch s = split_scratch(scratch, a.tile, a.head_dim);
  const int64_t blocks = (end - begin + kColumns - 1) / kColumns;
  const auto block_at = [&](int64_t i) {
    const int64_t left = end - begin - i * kColumns;
    return RowBlock{.row = begin + i * kColumns,
                    .rows = left < kColumns ? left : kColumns,
                    .q = s.q + i * sizes.q_words * kColumns,
                    .out = s.out + i * sizes.dp * kColumns,
                    .top = s.top + i * kColumns,
                    .total = s.total + i * kColumns};
  };
  for (int64_t i = 0; i < blocks; ++i) load_queries<V, kMath>(a, kv_head, block_at(i), sizes, s);
  for (int64_t i = 0; i < blocks * kColumns; ++i) {
    s.top[i] = kMinusInf;
    s.total[i] = 0.0f;
  }
  const int64_t keys_end = visible_keys(a, end - 1);  // above the diagonal nothing is computed
  for (int64_t key0 = 0; key0 < keys_end; key0 += kKeys) {
    const int64_t n = keys_end - key0 < kKeys ? keys_end - key0 : kKeys;
    load_keys<V, kMath>(a, kv_head, key0, n, sizes, s);
    load_values<V, kMath, kKeys>(a, kv_head, key0, n, sizes, s);
    // The next tile comes near while this one is multiplied, some keys a block.
    int64_t next = key0 + n;
    const int64_t near = next + kKeys < keys_end ? next + kKeys : keys_end;
    const int64_t fetched = (kKeys + blocks - 1) / blocks;
    for (int64_t i = 0; i < blocks; ++i) {
      for (int64_t k = 0; k < fetched && next < near; ++k) {
        fetch_key_and_value<V>(a, kv_head, next++);
      }
      attend<V, kMath, kKeys>(a, block_at(i), key0, n, sizes, s);
    }
  }
  for (int64_t i = 0; i < blocks; ++i) store_block<V, kMath>(a, kv_head, block_at(i), sizes, s);
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

}  // namespace reelm::kernels
