#include "kernels/attention.h"

#include <algorithm>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::Tolerance;

constexpr Tolerance kTolerance = {.atol = 1e-5, .rtol = 1e-5};

class Attention : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Attention);

// [n, heads, head_dim] with room between heads and rows, one element past alignment.
template <typename T>
struct Heads {
  Heads(std::int64_t n_, std::int64_t heads_, std::int64_t d_, unsigned seed, float range = 1.0f)
      : n(n_), heads(heads_), d(d_), row(heads_ * (d_ + 4) + 6) {
    for (const float v : random_floats(n * row + 1, seed, range)) {
      if constexpr (sizeof(T) == 2) {
        values.push_back(to_bf16(v));
      } else {
        values.push_back(v);
      }
    }
  }
  TensorView<T> view() { return TensorView<T>(values.data() + 1, {n, heads, d}, {row, d + 4, 1}); }
  TensorView<const T> read() { return view(); }
  std::int64_t n, heads, d, row;
  std::vector<T> values;
};

template <typename T>
void expect_matches(std::int64_t n_q, std::int64_t n_k, std::int64_t kv_heads, std::int64_t group,
                    std::int64_t d, bool causal, float range = 1.0f,
                    Tolerance tolerance = kTolerance) {
  Heads<float> q(n_q, kv_heads * group, d, 1, range), out(n_q, kv_heads * group, d, 4);
  Heads<T> k(n_k, kv_heads, d, 2, range), v(n_k, kv_heads, d, 3);
  Heads<float> expected = out;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  attention(q.read(), k.read(), v.read(), out.view(), scale, causal);
  reference::attention(q.read(), k.read(), v.read(), expected.view(), scale, causal);
  EXPECT_TRUE(all_close(out.values, expected.values, tolerance))
      << "n_q " << n_q << " n_k " << n_k << " kv_heads " << kv_heads << " group " << group << " d "
      << d << " causal " << causal << " bytes " << sizeof(T);
}

// Int8 keys or values, values and scales with room between heads and rows.
struct Int8Store {
  Int8Store(std::int64_t n_, std::int64_t heads_, std::int64_t d_, unsigned seed, float range)
      : n(n_), heads(heads_), d(d_), row(heads_ * (d_ + 4) + 6) {
    for (const float v : random_floats(n * row + 1, seed, 127.0f)) {
      values.push_back(static_cast<std::int8_t>(v));
    }
    for (const float v : random_floats(n * heads * 3, seed + 100)) {
      scales.push_back((v + 1.1f) * range / 127.0f);
    }
  }
  Int8Heads read() const {
    return {{values.data() + 1, {n, heads, d}, {row, d + 4, 1}},
            {scales.data(), {n, heads}, {heads * 3, 2}}};
  }
  /// As the KV cache has them: heads apart, rows dense.
  Int8Heads head_major() const {
    return {{values.data(), {n, heads, d}, {d, n * d, 1}}, {scales.data(), {n, heads}, {1, n}}};
  }
  std::int64_t n, heads, d, row;
  std::vector<std::int8_t> values;
  std::vector<float> scales;
};

void expect_int8_matches(std::int64_t n_q, std::int64_t n_k, std::int64_t kv_heads,
                         std::int64_t group, std::int64_t d, bool causal) {
  Heads<float> q(n_q, kv_heads * group, d, 1), out(n_q, kv_heads * group, d, 4);
  const Int8Store k(n_k, kv_heads, d, 2, 1.0f), v(n_k, kv_heads, d, 3, 1.0f);
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  for (const bool dense : {false, true}) {
    const Int8Heads keys = dense ? k.head_major() : k.read();
    const Int8Heads values = dense ? v.head_major() : v.read();
    Heads<float> expected = out;
    attention(q.read(), keys, values, out.view(), scale, causal);
    reference::attention(q.read(), keys, values, expected.view(), scale, causal);
    SCOPED_TRACE(::testing::Message() << "n_q " << n_q << " n_k " << n_k << " group " << group
                                      << " d " << d << " causal " << causal << " dense " << dense);
    // Few rows: queries and weights of 15 bits.
    EXPECT_TRUE(all_close(out.values, expected.values, {.atol = 1e-4, .rtol = 1e-4}));
    attention(q.read(), keys, values, out.view(), scale, causal, ComputeType::kBF16);
    EXPECT_TRUE(all_close(out.values, expected.values, {.atol = 2e-2, .rtol = 1e-2}));
  }
}

TEST_P(Attention, Int8) {
  for (const std::int64_t d : {1, 8, 33, 64, 72, 80, 128}) {
    for (const auto& [kv_heads, group] : {std::pair<std::int64_t, std::int64_t>{2, 6}, {1, 3}}) {
      for (const auto& [n_q, n_k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
               {1, 1}, {1, 7}, {2, 130}, {1, 1100}, {5, 5}, {33, 33}, {40, 100}, {3, 0}}) {
        expect_int8_matches(n_q, n_k, kv_heads, group, d, true);
      }
      expect_int8_matches(20, 70, kv_heads, group, d, false);
    }
  }
}

TEST_P(Attention, Int8RowsOfZerosAndOfWhatIsNoNumber) {
  constexpr std::int64_t kKeys = 70, kDim = 64;
  const std::vector<float> q = random_floats(6 * kDim, 1);
  std::vector<std::int8_t> bytes(kKeys * kDim, 3);
  std::vector<float> scales(kKeys, 0.01f), out(q.size());
  const Int8Heads kv = {{bytes.data(), {kKeys, 1, kDim}}, {scales.data(), {kKeys, 1}}};
  const auto run = [&](const std::vector<float>& queries) {
    attention({queries.data(), {1, 6, kDim}}, kv, kv, {out.data(), {1, 6, kDim}}, 0.1f, true);
  };
  run(q);
  for (const float v : out) ASSERT_NEAR(v, 0.03f, 1e-5f);  // all values are the same
  run(std::vector<float>(q.size(), 0.0f));
  for (const float v : out) ASSERT_NEAR(v, 0.03f, 1e-5f);
  scales.assign(kKeys, 0.0f);
  run(q);
  for (const float v : out) ASSERT_EQ(v, 0.0f);
  scales[40] = std::numeric_limits<float>::quiet_NaN();
  run(q);
  for (const float v : out) ASSERT_TRUE(std::isnan(v));
}

TEST_P(Attention, RowsOfTheKvCacheLayout) {
  // Dense rows of a head: what decoding fetches ahead.
  for (const std::int64_t n_k : {1, 63, 64, 65, 700}) {
    const std::vector<float> q = random_floats(7 * 2 * 64, 1), k = random_floats(2 * n_k * 64, 2);
    std::vector<float> out(q.size()), expected(q.size());
    const TensorView<const float> keys(k.data(), {n_k, 2, 64}, {64, n_k * 64, 1});
    attention({q.data(), {1, 14, 64}}, keys, keys, {out.data(), {1, 14, 64}}, 0.125f, true);
    reference::attention({q.data(), {1, 14, 64}}, keys, keys, {expected.data(), {1, 14, 64}},
                         0.125f, true);
    EXPECT_TRUE(all_close(out, expected, kTolerance)) << n_k;
  }
}

TEST_P(Attention, EveryShape) {
  for (const std::int64_t d : {8, 64, 80, 128}) {
    for (const std::int64_t group : {1, 3, 6}) {
      for (const bool causal : {false, true}) {
        for (const auto& [n_q, n_k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
                 {1, 1}, {1, 7}, {1, 65}, {2, 130}, {5, 5}, {33, 33}, {70, 70}, {40, 100}}) {
          expect_matches<float>(n_q, n_k, 2, group, d, causal);
          expect_matches<bf16_t>(n_q, n_k, 2, group, d, causal);
        }
      }
    }
  }
}

TEST_P(Attention, OddHeadSizes) {
  for (const std::int64_t d : {1, 3, 12, 20, 33, 72, 136}) {
    for (const std::int64_t n_q : {1, 20}) {
      expect_matches<float>(n_q, 90, 1, 2, d, true);
      expect_matches<bf16_t>(n_q, 90, 1, 2, d, false);
    }
  }
}

// What lies between heads and rows, and behind the last, is not the kernel's: 0 * NaN is NaN.
TEST_P(Attention, ReadsNothingPastHeadDim) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t d : {8, 24, 40, 72, 88}) {
    Heads<float> q(16, 4, d, 1), k(64, 1, d, 2), v(64, 1, d, 3), out(16, 4, d, 4), expected = out;
    for (Heads<float>* x : {&k, &v}) {
      const std::vector<float> values = x->values;
      std::fill(x->values.begin(), x->values.end(), nan);
      for (std::int64_t j = 0; j < x->n; ++j) {
        std::copy_n(values.begin() + 1 + j * x->row, d, x->values.begin() + 1 + j * x->row);
      }
      x->values.resize(static_cast<std::size_t>(1 + (x->n - 1) * x->row + d));
    }
    attention(q.read(), k.read(), v.read(), out.view(), 0.1f, false);
    reference::attention(q.read(), k.read(), v.read(), expected.view(), 0.1f, false);
    EXPECT_TRUE(all_close(out.values, expected.values, kTolerance)) << "d " << d;
  }
}

TEST_P(Attention, LongContextIsCutAndJoined) {
  for (const std::int64_t n_k : {511, 512, 513, 1700}) {
    expect_matches<float>(1, n_k, 2, 6, 128, true);
    expect_matches<bf16_t>(1, n_k, 2, 6, 128, true);
    expect_matches<float>(2, n_k, 1, 7, 64, true);
  }
}

TEST_P(Attention, LargeScoresDoNotOverflow) {
  // Scores of 1,000 are good to 6e-5 in f32, and so are the exponents of the weights.
  const Tolerance tolerance = {.atol = 2e-3, .rtol = 2e-3};
  expect_matches<float>(1, 600, 1, 2, 64, true, 20.0f, tolerance);
  expect_matches<float>(100, 100, 1, 2, 64, true, 20.0f, tolerance);
}

TEST_P(Attention, RowsThatSeeNothingAreZero) {
  expect_matches<float>(4, 0, 1, 1, 64, false);
  expect_matches<float>(30, 0, 1, 1, 64, false);
  expect_matches<float>(5, 3, 1, 1, 64, true);    // rows 0 and 1 come before the first key
  expect_matches<float>(60, 30, 1, 1, 64, true);  // tiles, likewise
  expect_matches<float>(0, 10, 1, 1, 64, true);
}

TEST_P(Attention, MoreHeadsInAGroupThanATileHasRows) {
  expect_matches<float>(3, 20, 1, 200, 16, true);
}

// bf16 has 8 bits: a weight or value is off by at most 1/512, and errors average out. Against the
// portable kernels, which round at the same places, only sums differ.
TEST_P(Attention, Bf16MathIsCloseToF32AndTheSameOnEverySet) {
  for (const std::int64_t d : {16, 72, 80, 128}) {
    for (const auto& [n_q, n_k] :
         std::vector<std::pair<std::int64_t, std::int64_t>>{{20, 20}, {50, 131}, {70, 64}}) {
      for (const bool causal : {false, true}) {
        Heads<float> q(n_q, 6, d, 1), k(n_k, 2, d, 2), v(n_k, 2, d, 3), out(n_q, 6, d, 4);
        Heads<float> exact = out, portable = out, from_bf16 = out;
        Heads<bf16_t> k16(n_k, 2, d, 2), v16(n_k, 2, d, 3);
        const TensorView<const float> qv = q.read();
        attention(qv, k.read(), v.read(), out.view(), 0.2f, causal, ComputeType::kBF16);
        attention(qv, k16.read(), v16.read(), from_bf16.view(), 0.2f, causal, ComputeType::kBF16);
        reference::attention(qv, k.read(), v.read(), exact.view(), 0.2f, causal);
        set_active_isa(Isa::kPortable);
        attention(qv, k.read(), v.read(), portable.view(), 0.2f, causal, ComputeType::kBF16);
        SetUp();
        SCOPED_TRACE(::testing::Message() << "d " << d << " n_q " << n_q << " n_k " << n_k);
        EXPECT_TRUE(all_close(out.values, exact.values, {.atol = 1e-2, .rtol = 1e-2}));
        EXPECT_TRUE(all_close(out.values, portable.values, {.atol = 1e-3, .rtol = 1e-3}));
        EXPECT_TRUE(reelm::testing::all_equal_bits(out.values, from_bf16.values));
      }
    }
  }
  const std::vector<std::int64_t> cu_seqlens = {0, 30, 30, 101};
  Heads<float> q(101, 2, 80, 1), out(101, 2, 80, 4), exact = out;
  attention_forward_varlen(q.read(), q.read(), q.read(), out.view(), cu_seqlens, cu_seqlens, 0.1f,
                           false, ComputeType::kBF16);
  reference::attention_forward_varlen(q.read(), q.read(), q.read(), exact.view(), cu_seqlens,
                                      cu_seqlens, 0.1f, false);
  EXPECT_TRUE(all_close(out.values, exact.values, {.atol = 1e-2, .rtol = 1e-2}));
}

TEST_P(Attention, IndependentSequences) {
  for (const std::vector<std::int64_t>& cu_seqlens : {std::vector<std::int64_t>{0},
                                                      {0, 0},
                                                      {0, 1},
                                                      {0, 0, 3, 3, 70, 70},
                                                      {0, 250},
                                                      {0, 64, 128, 192},
                                                      {0, 1, 2, 3, 210}}) {
    for (const std::int64_t d : {64, 80, 72}) {
      const std::int64_t n = cu_seqlens.back();
      Heads<float> q(n, 3, d, 1), k(n, 3, d, 2), v(n, 3, d, 3), out(n, 3, d, 4);
      Heads<float> expected = out;
      attention_forward_varlen(q.read(), k.read(), v.read(), out.view(), cu_seqlens, cu_seqlens,
                               0.125f, false);
      reference::attention_forward_varlen(q.read(), k.read(), v.read(), expected.view(), cu_seqlens,
                                          cu_seqlens, 0.125f, false);
      EXPECT_TRUE(all_close(out.values, expected.values, kTolerance)) << "n " << n << " d " << d;
    }
  }
}

}  // namespace
}  // namespace reelm::kernels
