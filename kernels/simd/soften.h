// Softmax of scores in units of log 2, whole or piece by piece with a running maximum and sum
// (Milakov & Gimelshein 2018): of one row, and of rows that lie on their side, a column each.
#pragma once

#include "../simd/math.h"
#include "../simd/rows.h"
#include "../simd/table.h"

namespace reelm::kernels {

inline constexpr float kMinusInf = -__builtin_inff();

template <class V>
inline int64_t pad_to_width(int64_t d) {
  return (d + V::kWidth - 1) / V::kWidth * V::kWidth;
}

/// Scores of one row become weights: the running maximum and sum move on, earlier sums out[d] are
/// scaled; d is whole registers. `limit` of the n scores are visible to the row; there is room up
/// to a whole register.
template <class V>
inline void soften_row(float* scores, int64_t limit, int64_t n, float* top, float* total,
                       float* out, int64_t d) {
  const int64_t n_pad = pad_to_width<V>(n);
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
    for (int64_t i = 0; i < d; i += V::kWidth) V::store(out + i, V::mul(V::load(out + i), factor));
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
    V::store(scores + j, w);
  }
  *total += V::reduce_add(sum);
}

/// See KernelTable::soften.
template <class V>
void soften_scores(float* scores, int64_t limit, int64_t n, float* total) {
  float top = kMinusInf;
  *total = 0.0f;
  soften_row<V>(scores, limit, n, &top, total, nullptr, 0);
}

/// How weights are left: as they are, rounded to bf16, or as pairs of bf16 of two keys, [n_pad /
/// 2][columns], in the front half.
enum WeightKind : int { kWeightF32, kWeightRounded, kWeightPairs };

/// A tile of scores whose columns soften_columns() takes on.
template <int64_t kColumns>
struct Softened {
  float* scores;        // [n][kColumns], room for n_pad
  int64_t n;            // keys
  int64_t n_pad;        // weights of 0 up to here
  const float* limits;  // keys that are visible to each column; all n with nullptr
  float* top;           // running maxima,
  float* total;         // sums of weights,
  float* sums;          // and sums of weighted values so far, [sum_rows][kColumns], or nullptr
  int64_t sum_rows;
};

/// A register's columns of n scores that lie `kColumns` apart: those of keys from `limits` on
/// become -inf.
template <class V, int64_t kColumns>
inline void hide_scores(float* scores, int64_t n, const float* limits) {
  const auto limit = V::load(limits);
  for (int64_t j = 0; j < n; ++j) {
    float* p = scores + j * kColumns;
    const auto key = V::set1(static_cast<float>(j));
    V::store(p, V::select_less(key, limit, V::load(p), V::set1(kMinusInf)));
  }
}

/// The largest of `top` and of n scores, in each column of a register.
template <class V, int64_t kColumns>
inline typename V::F top_of_scores(typename V::F top, const float* scores, int64_t n) {
  // Four chains: each maximum waits 4 cycles for the one before.
  typename V::F tops[4] = {top, top, top, top};
  int64_t j = 0;
  for (; j + 4 <= n; j += 4) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) tops[i] = V::max(tops[i], V::load(scores + (j + i) * kColumns));
  }
  for (; j < n; ++j) tops[0] = V::max(tops[0], V::load(scores + j * kColumns));
  return V::max(V::max(tops[0], tops[1]), V::max(tops[2], tops[3]));
}

/// n scores in each column of a register become weights 2^(score - shift), zeros behind them up to
/// n_pad with kWeightPairs; returns their sums.
template <class V, WeightKind kKind, int64_t kColumns>
inline typename V::F weigh_scores(float* scores, int64_t n, int64_t n_pad, typename V::F shift) {
  const auto weight = [&](int64_t key) {
    return exp2_ps<V>(V::sub(V::load(scores + key * kColumns), shift));
  };
  const auto put = [&](int64_t key, typename V::F w) {
    V::store(scores + key * kColumns, kKind == kWeightRounded ? V::round_bf16_number(w) : w);
  };
  auto sum0 = V::zero(), sum1 = V::zero();
  int64_t j = 0;
  for (; j + 2 <= n; j += 2) {
    const auto w0 = weight(j), w1 = weight(j + 1);
    sum0 = V::add(sum0, w0);
    sum1 = V::add(sum1, w1);
    if constexpr (kKind == kWeightPairs) {
      V::store(scores + j / 2 * kColumns, V::to_pairs_number(w0, w1));
    } else {
      put(j, w0);
      put(j + 1, w1);
    }
  }
  if (j < n) {
    const auto w = weight(j);
    sum0 = V::add(sum0, w);
    if constexpr (kKind == kWeightPairs) {
      V::store(scores + j / 2 * kColumns, V::to_pairs_number(w, V::zero()));
    } else {
      put(j, w);
    }
  }
  if constexpr (kKind == kWeightPairs) {
    for (j = (n + 1) / 2; j < n_pad / 2; ++j) V::store(scores + j * kColumns, V::zero());
  }
  return V::add(sum0, sum1);
}

/// Scores of each column become weights: as soften_row(), for all columns, none of which waits for
/// another.
template <class V, WeightKind kKind, int64_t kColumns>
inline void soften_columns(const Softened<kColumns>& a) {
  for (int64_t col = 0; col < kColumns; col += V::kWidth) {
    float* scores = a.scores + col;
    if (a.limits != nullptr) hide_scores<V, kColumns>(scores, a.n, a.limits + col);
    const auto top = V::load(a.top + col);
    const auto new_top = top_of_scores<V, kColumns>(top, scores, a.n);
    // A column that saw nothing so far has weights of 0 and a maximum of -inf, which nothing may
    // be subtracted from.
    const auto shift = V::select_less(new_top, V::set1(-__FLT_MAX__), V::zero(), new_top);
    auto total = V::load(a.total + col);
    // Not of the difference: a NaN in one column must not hide another.
    const auto moved = V::select_less(top, new_top, V::set1(1.0f), V::zero());
    if (V::reduce_max(moved) > 0.0f) {
      const auto factor = exp2_ps<V>(V::sub(top, shift));
      total = V::mul(total, factor);
      for (int64_t i = 0; a.sums != nullptr && i < a.sum_rows; ++i) {
        float* p = a.sums + i * kColumns + col;
        V::store(p, V::mul(V::load(p), factor));
      }
      V::store(a.top + col, new_top);
    }
    const auto sum = weigh_scores<V, kKind, kColumns>(scores, a.n, a.n_pad, shift);
    V::store(a.total + col, V::add(total, sum));
  }
}

}  // namespace reelm::kernels
