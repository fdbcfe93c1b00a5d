#include "bench/ladder/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace reelm::bench {

namespace {

constexpr float kMasked = -std::numeric_limits<float>::infinity();

double value_of(float v) { return v; }
double value_of(bf16_t v) { return to_float(v); }

Tensor masked(std::int64_t n_q, std::int64_t n_k, Counters& counters) {
  Tensor out(n_q, n_k, counters);
  counters.mask_elements += n_q * n_k;
  std::fill_n(out.row(0), n_q * n_k, kMasked);
  return out;
}

template <typename T>
void multiply_keys(TensorView<const float> q, TensorView<const T> k, float scale, Tensor& scores) {
  const std::int64_t n_q = q.size(0), heads = q.size(1), d = q.size(2);
  for (std::int64_t h = 0; h < heads; ++h) {
    const std::int64_t kv_head = h * k.size(1) / heads;
    for (std::int64_t i = 0; i < n_q; ++i) {
      const float* query = q.row(i) + h * q.stride(1);
      for (std::int64_t j = 0; j < k.size(0); ++j) {
        const T* key = k.row(j) + kv_head * k.stride(1);
        double dot = 0.0;
        for (std::int64_t c = 0; c < d; ++c) dot += query[c] * value_of(key[c]);
        scores.row(h * n_q + i)[j] = static_cast<float>(dot * scale);
      }
    }
  }
}

void add_mask(Tensor& scores, TensorView<const float> mask) {
  for (std::int64_t r = 0; r < scores.rows(); ++r) {
    const float* row = mask.row(r % mask.size(0));
    for (std::int64_t j = 0; j < scores.width(); ++j) scores.row(r)[j] += row[j];
  }
}

void softmax(Tensor& scores) {
  for (std::int64_t r = 0; r < scores.rows(); ++r) {
    const std::span<float> row(scores.row(r), static_cast<std::size_t>(scores.width()));
    const double top = *std::max_element(row.begin(), row.end());
    double total = 0.0;
    for (const float s : row) total += std::exp(s - top);
    for (float& s : row) s = static_cast<float>(std::exp(s - top) / total);
  }
}

template <typename T>
void multiply_values(const Tensor& weights, TensorView<const T> v, TensorView<float> out) {
  const std::int64_t n_q = out.size(0), heads = out.size(1), d = out.size(2);
  std::vector<double> sums(static_cast<std::size_t>(d));
  for (std::int64_t h = 0; h < heads; ++h) {
    const std::int64_t kv_head = h * v.size(1) / heads;
    for (std::int64_t i = 0; i < n_q; ++i) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t j = 0; j < v.size(0); ++j) {
        const T* value = v.row(j) + kv_head * v.stride(1);
        const double weight = weights.row(h * n_q + i)[j];
        for (std::size_t c = 0; c < sums.size(); ++c) sums[c] += weight * value_of(value[c]);
      }
      float* to = out.row(i) + h * out.stride(1);
      for (std::size_t c = 0; c < sums.size(); ++c) to[c] = static_cast<float>(sums[c]);
    }
  }
}

}  // namespace

Tensor causal_mask(std::int64_t n_q, std::int64_t n_k, std::int64_t n_filled, Counters& counters) {
  Tensor out = masked(n_q, n_k, counters);
  for (std::int64_t i = 0; i < n_q; ++i) std::fill_n(out.row(i), n_filled - n_q + i + 1, 0.0f);
  return out;
}

Tensor block_mask(std::span<const std::int64_t> cu_seqlens, Counters& counters) {
  Tensor out = masked(cu_seqlens.back(), cu_seqlens.back(), counters);
  for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    for (std::int64_t i = cu_seqlens[s]; i < cu_seqlens[s + 1]; ++i) {
      std::fill_n(out.row(i) + cu_seqlens[s], cu_seqlens[s + 1] - cu_seqlens[s], 0.0f);
    }
  }
  return out;
}

template <typename T>
void plain_attention(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                     TensorView<const float> mask, float scale, TensorView<float> out,
                     Counters& counters) {
  REELM_CHECK(mask.size(0) == q.size(0) && mask.size(1) == k.size(0));
  Tensor scores(q.size(1) * q.size(0), k.size(0), counters);
  counters.score_elements += scores.rows() * scores.width();
  multiply_keys(q, k, scale, scores);
  add_mask(scores, mask);
  softmax(scores);
  multiply_values(scores, v, out);
}

template void plain_attention(TensorView<const float>, TensorView<const float>,
                              TensorView<const float>, TensorView<const float>, float,
                              TensorView<float>, Counters&);
template void plain_attention(TensorView<const float>, TensorView<const bf16_t>,
                              TensorView<const bf16_t>, TensorView<const float>, float,
                              TensorView<float>, Counters&);

}  // namespace reelm::bench
