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

/// Scores of each column become weights: as soften_row(), for all columns, none of which waits for
/// another.
template <class V, WeightKind kKind, int64_t kColumns>
inline void soften_columns(const Softened<kColumns>& a) {
  for (int64_t col = 0; col < kColumns; col += V::kWidth) {
    float* scores = a.scores + col;
    if (a.limits != nullptr) {
      const auto limit = V::load(a.limits + col);
      for (int64_t j = 0; j < a.n; ++j) {
        float* p = scores + j * kColumns;
        V::store(p, V::select_less(V::set1(static_cast<float>(j)), limit, V::load(p),
                                   V::set1(kMinusInf)));
      }
    }
    const auto top = V::load(a.top + col);
    // Four chains: each maximum waits 4 cycles for the one before.
    typename V::F tops[4] = {top, top, top, top};
    int64_t j = 0;
    for (; j + 4 <= a.n; j += 4) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) tops[i] = V::max(tops[i], V::load(scores + (j + i) * kColumns));
    }
    for (; j < a.n; ++j) tops[0] = V::max(tops[0], V::load(scores + j * kColumns));
    const auto new_top = V::max(V::max(tops[0], tops[1]), V::max(tops[2], tops[3]));
    // A column that saw nothing so far has weights of 0 and a maximum of -inf, which nothing may
    // be subtracted from.
    const auto shift = V::select_less(new_top, V::set1(-__FLT_MAX__), V::zero(), new_top);
    auto total = V::load(a.total + col);
    // Not of the difference: a NaN in one column must not hide another.
    const auto moved = V::select_less(top, new_top, V::set1(1.0f), V::zero());
    if (V::reduce_max(moved) > 0.0f) {
      const auto factor = exp2_ps<V>(V::sub(top, shift));
      total = V::mul(total, factor);
      if (a.sums != nullptr) {
        for (int64_t i = 0; i < a.sum_rows; ++i) {
          float* p = a.sums + i * kColumns + col;
          V::store(p, V::mul(V::load(p), factor));
        }
      }
      V::store(a.top + col, new_top);
    }
    auto sum0 = V::zero(), sum1 = V::zero();
    const auto weight = [&](int64_t key) {
      return exp2_ps<V>(V::sub(V::load(scores + key * kColumns), shift));
    };
    for (j = 0; j + 2 <= a.n; j += 2) {
      const auto w0 = weight(j), w1 = weight(j + 1);
      sum0 = V::add(sum0, w0);
      sum1 = V::add(sum1, w1);
      if constexpr (kKind == kWeightPairs) {
        V::store(scores + j / 2 * kColumns, V::to_pairs_number(w0, w1));
      } else {
        const bool round = kKind == kWeightRounded;
        V::store(scores + j * kColumns, round ? V::round_bf16_number(w0) : w0);
        V::store(scores + (j + 1) * kColumns, round ? V::round_bf16_number(w1) : w1);
      }
    }
    if (j < a.n) {
      const auto w = weight(j);
      sum0 = V::add(sum0, w);
      if constexpr (kKind == kWeightPairs) {
        V::store(scores + j / 2 * kColumns, V::to_pairs_number(w, V::zero()));
      } else {
        V::store(scores + j * kColumns, kKind == kWeightRounded ? V::round_bf16_number(w) : w);
      }
      ++j;
    }
    if constexpr (kKind == kWeightPairs) {
      for (j = (j + 1) / 2; j < a.n_pad / 2; ++j) V::store(scores + j * kColumns, V::zero());
    }
    V::store(a.total + col, V::add(total, V::add(sum0, sum1)));
  }
}

}  // namespace reelm::kernels
