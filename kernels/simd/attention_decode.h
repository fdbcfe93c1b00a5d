// Attention of few rows (decoding): see kernels/attention.h for what it computes.
//
// Keys and values are streamed once, in chunks that threads share and that are joined in order. A
// chunk goes over tiles of 64 keys: all scores, the softmax, all sums. Whatever the rows of a group
// are (6 in Qwen2-VL-2B), an element that came from memory is multiplied by each of them, so that
// the work is that of a product with few rows and memory has to be asked for well ahead: while keys
// are scored the values of the same tile are fetched, while values are summed the keys of the next
// tile. Int8 is widened as it is read; the scale of a key is multiplied into its scores, that of a
// value into its weights.
#pragma once

#include "../simd/attention.h"
#include "../simd/attention_decode_int8.h"
#include "../simd/decode_ahead.h"

namespace reelm::kernels {

template <class V, int kType>
inline typename V::F load_element(const char* p) {
  if constexpr (kType == kElementF32) {
    return V::load(reinterpret_cast<const float*>(p));
  } else if constexpr (kType == kElementBf16) {
    return V::load_bf16(reinterpret_cast<const uint16_t*>(p));
  } else {
    return V::load_i8(reinterpret_cast<const int8_t*>(p));
  }
}

/// scores[R][N] = q[R][d] . k[N][d]; rows of k lie k_bytes apart; d is a multiple of the width.
/// Fetches `lines` per line of a key.
template <class V, int R, int N, int kType>
inline void dot_keys(const float* q, int64_t d, const char* k, int64_t k_bytes, float* scores,
                     Ahead& ahead, int64_t lines) {
  constexpr int64_t kElement = kElementBytes<kType>;
  typename V::F sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sum[r][n] = V::zero();
  }
  const auto step = [&](int64_t i) {
    typename V::F key[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) key[n] = load_element<V, kType>(k + n * k_bytes + i * kElement);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto x = V::load(q + r * d + i);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[r][n] = V::fma(x, key[n], sum[r][n]);
    }
  };
  constexpr int64_t kLine = 64 / kElement;  // elements
  int64_t i = 0;
  for (; i + kLine <= d; i += kLine) {
    ahead.fetch<V>(lines);
#pragma GCC unroll 8
    for (int64_t j = 0; j < kLine; j += V::kWidth) step(i + j);
  }
  for (; i < d; i += V::kWidth) step(i);
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    if constexpr (N == 4) {
      V::store_sums4(scores + r * kAttentionKeys, sum[r][0], sum[r][1], sum[r][2], sum[r][3]);
    } else {
      static_assert(N == 1);
      scores[r * kAttentionKeys] = V::reduce_add(sum[r][0]);
    }
  }
}

/// Rows whose sums with 4 keys fill the registers: 24 sums, 4 keys and a query of 32 with AVX-512,
/// so that the keys of a group of 6 are widened once; 12 of 16 elsewhere.
template <class V>
inline constexpr int kScoredRows = V::kWidth == 16 ? 6 : 3;

/// All rows against N keys, kScoredRows at a time.
template <class V, int N, int kType>
inline void dot_rows(const float* q, int64_t rows, int64_t d, const char* k, int64_t k_bytes,
                     float* scores, Ahead& ahead) {
  constexpr int kRows = kScoredRows<V>;
  const int64_t passes = (rows + kRows - 1) / kRows, lines = (N + passes - 1) / passes;
  int64_t r = 0;
  const auto take = [&]<int R>() {
    dot_keys<V, R, N, kType>(q + r * d, d, k, k_bytes, scores + r * kAttentionKeys, ahead, lines);
    r += R;
  };
  while (rows - r >= kRows) take.template operator()<kRows>();
  if constexpr (kRows > 3) {
    if (rows - r >= 3) take.template operator()<3>();
  }
  if (rows - r == 2) {
    take.template operator()<2>();
  } else if (rows - r == 1) {
    take.template operator()<1>();
  }
}

/// Scores of keys [begin, begin + n), n at most 64.
template <class V, int kType>
inline void score_keys(const AttentionArgs& a, int64_t kv_head, const float* q, int64_t rows,
                       int64_t begin, int64_t n, float* scores) {
  const int64_t k_bytes = a.k.row * kElementBytes<kType>;
  const char* k =
      static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, begin) * kElementBytes<kType>;
  Ahead values = rows_ahead<kType>(a.v, kv_head, begin, n, a.head_dim);
  int64_t j = 0;
  for (; j + 4 <= n; j += 4, k += 4 * k_bytes) {
    dot_rows<V, 4, kType>(q, rows, a.head_dim, k, k_bytes, scores + j, values);
  }
  for (; j < n; ++j, k += k_bytes) {
    dot_rows<V, 1, kType>(q, rows, a.head_dim, k, k_bytes, scores + j, values);
  }
}

/// out[M][C * W] += weights[M][n] * v[n][C * W]; rows of v lie v_bytes apart, those of out d
/// elements. Fetches as many lines as it reads.
template <class V, int M, int C, int kType>
inline void weigh_strip(const float* weights, const char* v, int64_t v_bytes, int64_t n, float* out,
                        int64_t d, Ahead& ahead) {
  constexpr int64_t kBytes = C * V::kWidth * kElementBytes<kType>;  // of a row in this strip
  constexpr int64_t kEvery = kBytes < 64 ? 64 / kBytes : 1;
  typename V::F sum[M][C];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum[r][c] = V::load(out + r * d + c * V::kWidth);
  }
  for (int64_t j = 0; j < n; ++j, v += v_bytes) {
    if (j % kEvery == 0) ahead.fetch<V>(kBytes < 64 ? 1 : kBytes / 64);
    typename V::F value[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      value[c] = load_element<V, kType>(v + c * V::kWidth * kElementBytes<kType>);
    }
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      const auto w = V::set1(weights[r * kAttentionKeys + j]);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = V::fma(w, value[c], sum[r][c]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) V::store(out + r * d + c * V::kWidth, sum[r][c]);
  }
}

template <class V, int M, int kType>
inline void weigh_rows(const float* weights, const char* v, int64_t v_bytes, int64_t n, float* out,
                       int64_t d, Ahead& ahead) {
  constexpr int64_t kElement = kElementBytes<kType>;
  int64_t col = 0;
  for (; col + V::kStrip * V::kWidth <= d; col += V::kStrip * V::kWidth) {
    weigh_strip<V, M, V::kStrip, kType>(weights, v + col * kElement, v_bytes, n, out + col, d,
                                        ahead);
  }
  for (; col < d; col += V::kWidth) {
    weigh_strip<V, M, 1, kType>(weights, v + col * kElement, v_bytes, n, out + col, d, ahead);
  }
}

/// out[rows][d] += weights[rows][n] * values of keys [begin, begin + n), n at most 64. Keys
/// [begin + n, begin + n + next) come after them.
template <class V, int kType>
inline void weigh_keys(const AttentionArgs& a, int64_t kv_head, const float* weights, int64_t rows,
                       int64_t begin, int64_t n, int64_t next, float* out) {
  const int64_t v_bytes = a.v.row * kElementBytes<kType>, d = a.head_dim;
  const char* v =
      static_cast<const char*>(a.v.data) + row_offset(a.v, kv_head, begin) * kElementBytes<kType>;
  Ahead keys = rows_ahead<kType>(a.k, kv_head, begin + n, next, d);
  for (int64_t r = 0; r < rows;) {
    const float* w = weights + r * kAttentionKeys;
    float* to = out + r * d;
    if (rows - r >= 6) {
      weigh_rows<V, 6, kType>(w, v, v_bytes, n, to, d, keys);
      r += 6;
    } else if (rows - r >= 3) {
      weigh_rows<V, 3, kType>(w, v, v_bytes, n, to, d, keys);
      r += 3;
    } else {
      weigh_rows<V, 1, kType>(w, v, v_bytes, n, to, d, keys);
      r += 1;
    }
  }
}

/// scores[rows][n] times a factor for each key, up to the next multiple of the width.
template <class V>
inline void scale_columns(float* scores, int64_t rows, int64_t n, const float* factors) {
  for (int64_t j = 0; j < n; j += V::kWidth) {
    const auto factor = V::load(factors + j);
    for (int64_t r = 0; r < rows; ++r) {
      float* to = scores + r * kAttentionKeys + j;
      V::store(to, V::mul(V::load(to), factor));
    }
  }
}

/// The parts of attention_chunk_scratch_floats().
struct ChunkScratch {
  float* q;          // [rows][d], scaled
  float* scores;     // [rows][kAttentionKeys], then weights
  float* k_scale;    // [kAttentionKeys] of the tile, with kElementInt8
  float* v_scale;    // likewise
  float* q_step;     // [kDecodeRows], of words_q
  float* w_step;     // [kDecodeRows], of words_w
  int16_t* words_q;  // [rows][d]
  int16_t* words_w;  // [rows][kAttentionKeys]
};

inline ChunkScratch split_chunk_scratch(float* p, int64_t d) {
  ChunkScratch s;
  s.q = p;
  s.scores = s.q + kDecodeRows * padded_head_dim(d);
  s.k_scale = s.scores + kDecodeRows * kAttentionKeys;
  s.v_scale = s.k_scale + kAttentionKeys;
  s.q_step = s.v_scale + kAttentionKeys;
  s.w_step = s.q_step + kDecodeRows;
  s.words_q = reinterpret_cast<int16_t*>(s.w_step + kDecodeRows);
  s.words_w = s.words_q + kDecodeRows * padded_head_dim(d);
  return s;
}

/// Scores become weights; running maxima, totals and sums move on.
template <class V>
inline void soften_rows(const AttentionArgs& a, int64_t rows, int64_t begin, int64_t n,
                        float* scores, float* partial) {
  const int64_t d = a.head_dim;
  float* top = partial + rows * d;
  for (int64_t r = 0; r < rows; ++r) {
    int64_t limit = visible_keys(a, r) - begin;
    limit = limit < 0 ? 0 : limit < n ? limit : n;
    soften_row<V>(scores + r * kAttentionKeys, limit, n, top + r, top + rows + r, partial + r * d,
                  d);
  }
}

/// Keys [begin, begin + n) into the sums [rows][d], running maxima and totals of `partial`; `next`
/// keys come after them.
template <class V, int kType>
inline void chunk_tile(const AttentionArgs& a, int64_t kv_head, int64_t rows, int64_t begin,
                       int64_t n, int64_t next, const ChunkScratch& s, float* partial) {
  score_keys<V, kType>(a, kv_head, s.q, rows, begin, n, s.scores);
  if constexpr (kType == kElementInt8) scale_columns<V>(s.scores, rows, n, s.k_scale);
  soften_rows<V>(a, rows, begin, n, s.scores, partial);
  if constexpr (kType == kElementInt8) scale_columns<V>(s.scores, rows, n, s.v_scale);
  weigh_keys<V, kType>(a, kv_head, s.scores, rows, begin, n, next, partial);
}

/// The same in words.
template <class V>
inline void chunk_tile_words(const AttentionArgs& a, int64_t kv_head, int64_t rows, int64_t begin,
                             int64_t n, int64_t next, const ChunkScratch& s, float* partial) {
  score_key_words<V>(a, kv_head, s.words_q, s.q_step, rows, begin, n, s.scores);
  scale_columns<V>(s.scores, rows, n, s.k_scale);
  soften_rows<V>(a, rows, begin, n, s.scores, partial);
  scale_columns<V>(s.scores, rows, n, s.v_scale);
  for (int64_t r = 0; r < rows; ++r) {
    int16_t* words = s.words_w + r * kAttentionKeys;
    s.w_step[r] = to_words<V>(s.scores + r * kAttentionKeys, pad_to_width<V>(n), words);
  }
  weigh_key_words<V>(a, kv_head, s.words_w, s.w_step, rows, begin, n, next, partial);
}

/// The scales of keys [begin, begin + n) and zeros up to a whole register.
template <class V>
inline void load_scales(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t n,
                        const ChunkScratch& s) {
  for (int64_t j = 0; j < pad_to_width<V>(n); ++j) {
    s.k_scale[j] = j < n ? row_scale(a.k, kv_head, begin + j) : 0.0f;
    s.v_scale[j] = j < n ? row_scale(a.v, kv_head, begin + j) : 0.0f;
  }
}

/// Rows of q, [rows][head_dim], in units of log 2.
template <class V>
inline void scale_queries(const AttentionArgs& a, int64_t kv_head, int64_t rows, float* to) {
  const int64_t d = a.head_dim;
  const auto scale = V::set1(a.scale * kLog2E);
  for (int64_t r = 0; r < rows; ++r) {
    const float* from = a.q + row_place(a, kv_head, r, a.q_row, a.q_head);
    for (int64_t i = 0; i < d; i += V::kWidth) {
      V::store(to + r * d + i, V::mul(V::load(from + i), scale));
    }
  }
}

template <class V>
void attention_chunk(const AttentionArgs& a, int64_t kv_head, int64_t begin, int64_t end,
                     float* partial, float* scratch) {
  const int64_t d = a.head_dim;
  const int64_t rows = a.n_q * (a.heads / a.kv_heads);
  const ChunkScratch s = split_chunk_scratch(scratch, d);
  scale_queries<V>(a, kv_head, rows, s.q);
  for (int64_t i = 0; i < rows * d; i += V::kWidth) V::store(partial + i, V::zero());
  for (int64_t r = 0; r < rows; ++r) {
    partial[rows * d + r] = kMinusInf;   // running maximum
    partial[rows * (d + 1) + r] = 0.0f;  // running sum of weights
  }
  const bool int8 = a.kv_type == kElementInt8, words = int8 && takes_words<V>(d);
  if constexpr (V::kHasWords) {
    for (int64_t r = 0; r < rows && words; ++r) {
      s.q_step[r] = to_words<V>(s.q + r * d, d, s.words_q + r * d);
    }
  }
  for (int64_t key = begin; key < end; key += kAttentionKeys) {
    const int64_t n = end - key < kAttentionKeys ? end - key : kAttentionKeys;
    // Past the end of this chunk too: most often the same thread takes the next one.
    const int64_t after = a.n_k - key - n;
    const int64_t next = after < kAttentionKeys ? after : kAttentionKeys;
    if (int8) load_scales<V>(a, kv_head, key, n, s);
    if (words) {
      if constexpr (V::kHasWords) chunk_tile_words<V>(a, kv_head, rows, key, n, next, s, partial);
    } else if (int8) {
      chunk_tile<V, kElementInt8>(a, kv_head, rows, key, n, next, s, partial);
    } else if (a.kv_type == kElementBf16) {
      chunk_tile<V, kElementBf16>(a, kv_head, rows, key, n, next, s, partial);
    } else {
      chunk_tile<V, kElementF32>(a, kv_head, rows, key, n, next, s, partial);
    }
  }
}

template <class V>
void attention_join(const AttentionArgs& a, int64_t kv_head, int64_t chunks, const float* partial) {
  const int64_t d = a.head_dim, rows = a.n_q * (a.heads / a.kv_heads);
  const int64_t step = attention_partial_floats(rows, d);
  for (int64_t r = 0; r < rows; ++r) {
    float* to = a.out + row_place(a, kv_head, r, a.out_row, a.out_head);
    float top = kMinusInf;
    for (int64_t c = 0; c < chunks; ++c) {
      const float chunk_top = partial[c * step + rows * d + r];
      top = chunk_top > top ? chunk_top : top;
    }
    for (int64_t i = 0; i < d; i += V::kWidth) V::store(to + i, V::zero());
    if (top == kMinusInf) continue;
    float sum = 0.0f;
    for (int64_t c = 0; c < chunks; ++c) {
      const float* p = partial + c * step;
      const auto factor = exp2_ps<V>(V::set1(p[rows * d + r] - top));
      float lanes[V::kWidth];
      V::store(lanes, factor);
      sum += lanes[0] * p[rows * (d + 1) + r];
      for (int64_t i = 0; i < d; i += V::kWidth) {
        V::store(to + i, V::fma(factor, V::load(p + r * d + i), V::load(to + i)));
      }
    }
    const auto factor = V::set1(1.0f / sum);
    for (int64_t i = 0; i < d; i += V::kWidth) V::store(to + i, V::mul(V::load(to + i), factor));
  }
}

}  // namespace reelm::kernels
