// Attention of few rows over int8 keys and values, in integers: the half of attention_decode.h that
// makes them faster than bf16 where that one waits for arithmetic. Each byte of the cache meets
// every row of the group, 12 operations a byte in Qwen2-VL-2B (6 in bf16): in f32 two AVX2 cores at
// 207 GFLOP/s could read 17 GB/s of it at most, of 47 that memory gives. Products of 16-bit
// integers, two and two added, do twice as many an instruction and widen twice as many at once.
//
// Queries, and the weights of a tile, become 16-bit integers with a step a row: 15 bits of their
// largest, where bf16 has 8 of each. Sums are exact up to head_dim 1024.
#pragma once

#include "../simd/attention.h"
#include "../simd/decode_ahead.h"

namespace reelm::kernels {

/// Queries and weights are at most this: 1024 products with at most 127 stay below 2^31.
inline constexpr float kWordTop = 16383.0f;
inline constexpr int64_t kWordHeadDim = 1024;

/// Whether the kernels below can take a head: the sets that multiply words read two registers'
/// worth of elements at a time.
template <class V>
inline bool takes_words(int64_t head_dim) {
  return V::kHasWords && head_dim % (2 * V::kWidth) == 0 && head_dim <= kWordHeadDim;
}

/// to[i] = round(from[i] / step); n is a multiple of the width. Returns the step: 0 for a row of
/// nothing above 1e-30, NaN for one that holds what is no number, and zeros for both.
template <class V>
inline float to_words(const float* from, int64_t n, int16_t* to) {
  auto top = V::zero(), finite = V::zero();
  for (int64_t i = 0; i < n; i += V::kWidth) {
    const auto v = V::load(from + i);
    top = V::max(V::abs(v), top);
    finite = V::fma(v, V::zero(), finite);  // NaN once anything is NaN or infinite
  }
  const float largest = V::reduce_max(top);
  const bool valid = V::reduce_add(finite) == 0.0f;
  const bool usable = valid && largest >= kSmallestQuantized;
  const auto inverse = V::set1(usable ? kWordTop / largest : 0.0f);
  for (int64_t i = 0; i < n; i += V::kWidth) {
    V::store_i16(to + i, V::mul(valid ? V::load(from + i) : V::zero(), inverse));
  }
  return usable ? largest / kWordTop : valid ? 0.0f : __builtin_nanf("");
}

/// scores[R][N] = step[R] * (q[R][d] . k[N][d]); rows of k lie k_bytes apart; d is a multiple of
/// two widths. Fetches `lines` per line of a key.
template <class V, int R, int N>
inline void dot_key_words(const int16_t* q, const float* steps, int64_t d, const char* k,
                          int64_t k_bytes, float* scores, Ahead& ahead, int64_t lines) {
  typename V::S sum[R][N];
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) sum[r][n] = V::zero_s();
  }
  for (int64_t i = 0; i < d; i += 2 * V::kWidth) {
    if (i % 64 == 0) ahead.fetch<V>(lines);
    typename V::I key[N];
#pragma GCC unroll 8
    for (int n = 0; n < N; ++n) key[n] = V::load_i8_words(k + n * k_bytes + i);
#pragma GCC unroll 8
    for (int r = 0; r < R; ++r) {
      const auto x = V::load_words(q + r * d + i);
#pragma GCC unroll 8
      for (int n = 0; n < N; ++n) sum[r][n] = V::add_s(sum[r][n], V::madd16(x, key[n]));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < R; ++r) {
    float four[4];
    constexpr int kLast = N - 1;  // N is 4, or 1: the same sum four times
    V::store_word_sums4(four, steps[r], V::integers(sum[r][0]), V::integers(sum[r][1 % N]),
                        V::integers(sum[r][2 % N]), V::integers(sum[r][kLast]));
    for (int n = 0; n < N; ++n) scores[r * kAttentionKeys + n] = four[n];
  }
}

/// Scores of keys [begin, begin + n), n at most 64, but for the keys' scales.
template <class V>
inline void score_key_words(const AttentionArgs& a, int64_t kv_head, const int16_t* q,
                            const float* steps, int64_t rows, int64_t begin, int64_t n,
                            float* scores) {
  const int64_t d = a.head_dim, passes = (rows + 2) / 3, lines = (4 + passes - 1) / passes;
  const char* k = static_cast<const char*>(a.k.data) + row_offset(a.k, kv_head, begin);
  Ahead values = rows_ahead<kElementInt8>(a.v, kv_head, begin, n, d);
  const auto pass = [&]<int N>(int64_t r, int64_t j) {
    const int16_t* qr = q + r * d;
    const char* key = k + j * a.k.row;
    float* to = scores + r * kAttentionKeys + j;
    if (rows - r >= 3) {
      dot_key_words<V, 3, N>(qr, steps + r, d, key, a.k.row, to, values, lines);
    } else if (rows - r == 2) {
      dot_key_words<V, 2, N>(qr, steps + r, d, key, a.k.row, to, values, lines);
    } else {
      dot_key_words<V, 1, N>(qr, steps + r, d, key, a.k.row, to, values, lines);
    }
  };
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
    for (int64_t r = 0; r < rows; r += 3) pass.template operator()<4>(r, j);
  }
  for (; j < n; ++j) {
    for (int64_t r = 0; r < rows; r += 3) pass.template operator()<1>(r, j);
  }
}

/// out[M][C * W] += steps[M] * (weights[M][n] * v[n][C * W]), two keys at a time. Weights lie
/// kAttentionKeys apart, an odd one out is followed by a zero.
template <class V, int M, int C>
inline void weigh_word_strip(const int16_t* weights, const float* steps, const char* v,
                             int64_t v_bytes, int64_t n, float* out, int64_t d, Ahead& ahead) {
  constexpr int64_t kBytes = 2 * C * V::kWidth;  // of two rows in this strip
  constexpr int64_t kEvery = kBytes < 64 ? 2 * 64 / kBytes : 2;
  typename V::S sum[M][C];
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) sum[r][c] = V::zero_s();
  }
  for (int64_t j = 0; j < n; j += 2, v += 2 * v_bytes) {
    if (j % kEvery == 0) ahead.fetch<V>(kBytes < 64 ? 1 : kBytes / 64);
    const char* second = j + 1 < n ? v + v_bytes : v;
    typename V::I value[C];
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      value[c] = V::load_i8_pairs(v + c * V::kWidth, second + c * V::kWidth);
    }
#pragma GCC unroll 8
    for (int r = 0; r < M; ++r) {
      uint32_t pair;
      __builtin_memcpy(&pair, weights + r * kAttentionKeys + j, 4);
      const auto w = V::set1_pair(pair);
#pragma GCC unroll 8
      for (int c = 0; c < C; ++c) sum[r][c] = V::add_s(sum[r][c], V::madd16(w, value[c]));
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < M; ++r) {
    const auto step = V::set1(steps[r]);
#pragma GCC unroll 8
    for (int c = 0; c < C; ++c) {
      float* to = out + r * d + c * V::kWidth;
      V::store(to, V::fma(V::to_float(sum[r][c]), step, V::load(to)));
    }
  }
}

/// out[rows][d] += weights * values of keys [begin, begin + n), n at most 64. Keys
/// [begin + n, begin + n + next) come after them.
template <class V>
inline void weigh_key_words(const AttentionArgs& a, int64_t kv_head, const int16_t* weights,
                            const float* steps, int64_t rows, int64_t begin, int64_t n,
                            int64_t next, float* out) {
  constexpr int64_t kCols = 2 * V::kWidth;  // takes_words(): d is a multiple of it
  const int64_t d = a.head_dim;
  const char* v = static_cast<const char*>(a.v.data) + row_offset(a.v, kv_head, begin);
  Ahead keys = rows_ahead<kElementInt8>(a.k, kv_head, begin + n, next, d);
  const auto strips = [&]<int M>(int64_t r) {
    for (int64_t col = 0; col < d; col += kCols) {
      weigh_word_strip<V, M, 2>(weights + r * kAttentionKeys, steps + r, v + col, a.v.row, n,
                                out + r * d + col, d, keys);
    }
    return r + M;
  };
  for (int64_t r = 0; r < rows;) {
    if (rows - r >= 6) {
      r = strips.template operator()<6>(r);
    } else if (rows - r >= 3) {
      r = strips.template operator()<3>(r);
    } else {
      r = strips.template operator()<1>(r);
    }
  }
}

}  // namespace reelm::kernels
