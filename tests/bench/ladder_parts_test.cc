// What the ladder's lower rungs are made of, against the oracle.
#include <gtest/gtest.h>

#include "bench/ladder/attention.h"
#include "bench/ladder/cache.h"
#include "kernels/convert.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::bench {
namespace {

constexpr std::int64_t kHeads = 4, kKvHeads = 2, kDim = 8;
constexpr float kScale = 0.35f;

/// Queries and keys of heads, in buffers of their own.
struct Inputs {
  Inputs(std::int64_t n_q, std::int64_t n_k)
      : q_(kernels::random_floats(n_q * kHeads * kDim, 1)),
        k_(kernels::random_floats(n_k * kKvHeads * kDim, 2)),
        v_(kernels::random_floats(n_k * kKvHeads * kDim, 3)),
        q(q_.data(), {n_q, kHeads, kDim}),
        k(k_.data(), {n_k, kKvHeads, kDim}),
        v(v_.data(), {n_k, kKvHeads, kDim}) {}

  std::vector<float> q_, k_, v_;
  TensorView<const float> q, k, v;
};

// The oracle rounds once, at its end; the plain form rounds scores and weights too.
constexpr testing::Tolerance kTolerance = {.atol = 1e-6, .rtol = 1e-6};

template <typename T>
std::vector<float> plain(const Inputs& in, TensorView<const T> k, TensorView<const T> v,
                         const Tensor& mask, Counters& counters) {
  std::vector<float> out(in.q_.size());
  plain_attention(in.q, k, v, mask.view(), kScale,
                  TensorView<float>(out.data(), {in.q.size(0), kHeads, kDim}), counters);
  return out;
}

TensorView<float> view_like(std::vector<float>& out, const Inputs& in) {
  return {out.data(), {in.q.size(0), kHeads, kDim}};
}

TEST(LadderAttention, CausalBehindAMaskIsTheOracles) {
  for (const std::int64_t n_q : {1, 5, 9}) {
    const Inputs in(n_q, 9);
    std::vector<float> expected(in.q_.size());
    kernels::reference::attention(in.q, in.k, in.v, view_like(expected, in), kScale, true);
    Counters counters;
    const Tensor mask = causal_mask(n_q, 9, 9, counters);
    EXPECT_TRUE(testing::all_close(plain(in, in.k, in.v, mask, counters), expected, kTolerance));
    EXPECT_EQ(counters.mask_elements, n_q * 9);
    EXPECT_EQ(counters.score_elements, kHeads * n_q * 9);
  }
}

TEST(LadderAttention, RoomThatIsNotFilledCountsNothing) {
  const Inputs in(1, 12);
  const TensorView<const float> k(in.k_.data(), {7, kKvHeads, kDim});
  const TensorView<const float> v(in.v_.data(), {7, kKvHeads, kDim});
  std::vector<float> expected(in.q_.size());
  kernels::reference::attention(in.q, k, v, view_like(expected, in), kScale, true);
  Counters counters;
  const Tensor mask = causal_mask(1, 12, 7, counters);
  EXPECT_TRUE(testing::all_close(plain(in, in.k, in.v, mask, counters), expected, kTolerance));
}

TEST(LadderAttention, BlocksAreTheOraclesSequences) {
  const Inputs in(9, 9);
  // As many heads of keys as of queries: take the queries for keys.
  const std::vector<std::int64_t> cu_seqlens = {0, 4, 5, 9};
  std::vector<float> expected(in.q_.size());
  kernels::reference::attention_forward_varlen(in.q, in.q, in.q, view_like(expected, in),
                                               cu_seqlens, cu_seqlens, kScale, /*causal=*/false);
  Counters counters;
  const Tensor mask = block_mask(cu_seqlens, counters);
  EXPECT_TRUE(testing::all_close(plain(in, in.q, in.q, mask, counters), expected, kTolerance));
}

TEST(LadderAttention, KeysAndValuesInBF16) {
  const Inputs in(3, 6);
  std::vector<bf16_t> k(in.k_.size()), v(in.v_.size());
  kernels::convert(in.k_.data(), k.data(), std::ssize(k));
  kernels::convert(in.v_.data(), v.data(), std::ssize(v));
  const TensorView<const bf16_t> keys(k.data(), {6, kKvHeads, kDim});
  const TensorView<const bf16_t> values(v.data(), {6, kKvHeads, kDim});
  std::vector<float> expected(in.q_.size());
  kernels::reference::attention(in.q, keys, values, view_like(expected, in), kScale, true);
  Counters counters;
  const Tensor mask = causal_mask(3, 6, 6, counters);
  EXPECT_TRUE(testing::all_close(plain(in, keys, values, mask, counters), expected, kTolerance));
}

class LadderCaches : public ::testing::TestWithParam<llm::KvType> {};

/// All elements in order, as f32.
std::vector<float> elements(const LayerKv& kv) {
  std::vector<float> out;
  const auto append = [&](const auto& rows) {
    for (std::int64_t i = 0; i < rows.size(0); ++i) {
      for (std::int64_t h = 0; h < rows.size(1); ++h) {
        for (std::int64_t c = 0; c < rows.size(2); ++c) {
          const auto value = rows.row(i)[h * rows.stride(1) + c];
          if constexpr (std::is_same_v<decltype(value), const float>) {
            out.push_back(value);
          } else {
            out.push_back(to_float(value));
          }
        }
      }
    }
  };
  std::visit(
      [&](const auto& view) {
        append(view.keys);
        append(view.values);
      },
      kv);
  return out;
}

TEST_P(LadderCaches, GrownAndFixedHoldTheSame) {
  const llm::KvCache::Shape shape = {2, kKvHeads, kDim};
  Counters counters;
  const auto grown = make_grown_cache(shape, GetParam(), counters);
  const auto fixed = make_fixed_cache(shape, GetParam(), 10);
  const Inputs in(1, 5);
  const auto rows = [](TensorView<const float> all, std::int64_t first, std::int64_t n) {
    return TensorView<const float>(all.row(first), {n, kKvHeads, kDim});
  };
  for (int sequence = 0; sequence < 2; ++sequence) {  // the second after clear()
    for (const auto& [first, n] : {std::pair(0, 4), std::pair(4, 1)}) {
      for (LadderCache* cache : {grown.get(), fixed.get()}) {
        for (const std::int64_t layer : {0, 1}) {
          const bool swapped = layer == 1;
          const auto k = rows(swapped ? in.v : in.k, first, n);
          const auto v = rows(swapped ? in.k : in.v, first, n);
          cache->append(layer, k, v);
        }
        cache->advance(n);
        EXPECT_EQ(cache->length(), first + n);
      }
      for (const std::int64_t layer : {0, 1}) {
        EXPECT_EQ(elements(grown->view(layer, first + n)), elements(fixed->view(layer, first + n)));
      }
    }
    EXPECT_NE(elements(grown->view(0, 5)), elements(grown->view(1, 5)));
    grown->clear();
    fixed->clear();
    EXPECT_EQ(grown->length(), 0);
    EXPECT_EQ(fixed->length(), 0);
  }
  // The 4 rows before the fifth, in 2 layers, keys and values, twice.
  const std::int64_t bytes = GetParam() == llm::KvType::kF32 ? 4 : 2;
  EXPECT_EQ(counters.cache_bytes_copied, 2 * 2 * 2 * 4 * kKvHeads * kDim * bytes);
}

TEST_P(LadderCaches, RoomThatWasNeverFilledIsZero) {
  const auto fixed = make_fixed_cache({1, kKvHeads, kDim}, GetParam(), 3);
  EXPECT_EQ(elements(fixed->view(0, 3)), std::vector<float>(2 * 3 * kKvHeads * kDim, 0.0f));
}

INSTANTIATE_TEST_SUITE_P(Types, LadderCaches,
                         ::testing::Values(llm::KvType::kF32, llm::KvType::kBF16),
                         [](const auto& type) { return llm::kv_type_name(type.param); });

}  // namespace
}  // namespace reelm::bench
