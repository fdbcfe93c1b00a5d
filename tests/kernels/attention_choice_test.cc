// Attention computed by every candidate, over batches and sequences of any lengths.
#include <algorithm>
#include <array>
#include <cmath>

#include "core/parallel.h"
#include "kernels/attention.h"
#include "kernels/attention_impl.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::all_equal_bits;
using reelm::testing::Tolerance;
using Lengths = std::vector<std::int64_t>;

constexpr Tolerance kTolerance = {.atol = 1e-5, .rtol = 1e-5};

/// Forces one candidate while it lives.
class Forced {
 public:
  explicit Forced(const char* name) { force_candidate(TunedOp::kAttention, name); }
  ~Forced() { force_candidate(TunedOp::kAttention, "auto"); }
};

class AttentionChoice : public KernelTest {
 protected:
  void TearDown() override {
    KernelTest::TearDown();
    set_num_threads(0);
  }
};
REELM_KERNEL_TEST_SUITE(AttentionChoice);

struct Shape {
  std::int64_t n_q, n_k, kv_heads, group, d;
  bool causal;
};

std::ostream& operator<<(std::ostream& out, const Shape& s) {
  return out << "n_q " << s.n_q << " n_k " << s.n_k << " kv_heads " << s.kv_heads << " group "
             << s.group << " d " << s.d << " causal " << s.causal;
}

/// Rows [n, heads * d] of queries or keys, dense.
std::vector<float> rows(std::int64_t n, std::int64_t heads, std::int64_t d, unsigned seed) {
  return random_floats(n * heads * d, seed);
}

std::vector<bf16_t> as_bf16(const std::vector<float>& from) {
  std::vector<bf16_t> out;
  for (const float v : from) out.push_back(to_bf16(v));
  return out;
}

const std::array kShapes = {Shape{1, 1, 2, 3, 64, true},       Shape{1, 1100, 2, 6, 64, true},
                            Shape{2, 300, 1, 7, 64, true},     Shape{70, 70, 2, 1, 80, false},
                            Shape{130, 200, 2, 3, 64, true},   Shape{33, 90, 1, 2, 20, false},
                            Shape{60, 30, 1, 1, 64, true},     Shape{5, 0, 2, 2, 64, false},
                            Shape{1300, 140, 1, 1, 80, false}, Shape{330, 340, 1, 4, 32, true}};

/// What one tile leaves behind for the next shows in full ones only.
TEST(AttentionCandidates, TheShapesHaveWholeTilesOfEachSize) {
  for (const AttentionCandidate& candidate : attention_candidates()) {
    if (candidate.kind != AttentionKind::kFlash) continue;
    EXPECT_TRUE(std::any_of(kShapes.begin(), kShapes.end(), [&](const Shape& s) {
      return s.n_q * s.group > candidate.tile.rows;
    })) << candidate.name;
  }
}

TEST_P(AttentionChoice, EveryCandidateIsCloseToTheReference) {
  for (const Shape& s : kShapes) {
    const std::int64_t heads = s.kv_heads * s.group;
    const std::vector<float> q = rows(s.n_q, heads, s.d, 1), k = rows(s.n_k, s.kv_heads, s.d, 2),
                             v = rows(s.n_k, s.kv_heads, s.d, 3);
    const std::vector<bf16_t> k16 = as_bf16(k), v16 = as_bf16(v);
    const TensorView<const float> qv(q.data(), {s.n_q, heads, s.d});
    const auto view = [&](const auto& x) {
      using T = typename std::remove_reference_t<decltype(x)>::value_type;
      return TensorView<const T>(x.data(), {s.n_k, s.kv_heads, s.d});
    };
    std::vector<float> expected(q.size()), expected16(q.size()), out(q.size());
    const auto to = [&](std::vector<float>& x) {
      return TensorView<float>(x.data(), {s.n_q, heads, s.d});
    };
    reference::attention(qv, view(k), view(v), to(expected), 0.2f, s.causal);
    reference::attention(qv, view(k16), view(v16), to(expected16), 0.2f, s.causal);
    for (const char* name : candidate_names(TunedOp::kAttention)) {
      SCOPED_TRACE(::testing::Message() << name << " " << s);
      const Forced forced(name);
      std::fill(out.begin(), out.end(), -7.0f);
      attention(qv, view(k), view(v), to(out), 0.2f, s.causal);
      EXPECT_TRUE(all_close(out, expected, kTolerance));
      std::fill(out.begin(), out.end(), -7.0f);
      attention(qv, view(k16), view(v16), to(out), 0.2f, s.causal);
      EXPECT_TRUE(all_close(out, expected16, kTolerance));
    }
  }
}

TEST_P(AttentionChoice, CandidatesOfOneKindOfSumsGiveTheSameBits) {
  for (const Shape& s : kShapes) {
    for (const ComputeType math : {ComputeType::kF32, ComputeType::kBF16}) {
      const std::int64_t heads = s.kv_heads * s.group;
      const std::vector<float> q = rows(s.n_q, heads, s.d, 1), k = rows(s.n_k, s.kv_heads, s.d, 2),
                               v = rows(s.n_k, s.kv_heads, s.d, 3);
      const auto run = [&](const AttentionCandidate& candidate, int threads) {
        set_num_threads(threads);
        const Forced forced(candidate.name);
        std::vector<float> out(q.size());
        attention({q.data(), {s.n_q, heads, s.d}},
                  TensorView<const float>(k.data(), {s.n_k, s.kv_heads, s.d}),
                  TensorView<const float>(v.data(), {s.n_k, s.kv_heads, s.d}),
                  {out.data(), {s.n_q, heads, s.d}}, 0.2f, s.causal, math);
        return out;
      };
      for (const AttentionCandidate& candidate : attention_candidates()) {
        if (candidate.kind == AttentionKind::kReference) continue;  // without threads
        const AttentionCandidate& first = *std::find_if(
            attention_candidates().begin(), attention_candidates().end(),
            [&](const AttentionCandidate& each) { return attention_same_bits(each, candidate); });
        EXPECT_TRUE(all_equal_bits(run(candidate, 3), run(first, 1)))
            << candidate.name << " and " << first.name << " " << s;
      }
    }
  }
}

TEST_P(AttentionChoice, VarlenOfQueriesAndKeysOfOtherLengths) {
  const std::vector<std::pair<Lengths, Lengths>> cases = {
      {{0}, {0}},
      {{0, 0}, {0, 5}},
      {{0, 3}, {0, 0}},
      {{0, 1, 2, 3}, {0, 70, 70, 900}},  // a step of three sequences, one without keys
      {{0, 0, 30, 30, 230}, {0, 40, 40, 45, 300}},
      {{0, 64, 256}, {0, 64, 256}}};
  for (const auto& [cu_q, cu_k] : cases) {
    for (const bool causal : {false, true}) {
      for (const std::int64_t group : {1, 3}) {
        constexpr std::int64_t kHeads = 2, kDim = 80;
        const std::int64_t heads = kHeads * group, n_q = cu_q.back(), n_k = cu_k.back();
        const std::vector<float> q = rows(n_q, heads, kDim, 1), k = rows(n_k, kHeads, kDim, 2),
                                 v = rows(n_k, kHeads, kDim, 3);
        const TensorView<const float> qv(q.data(), {n_q, heads, kDim}),
            kv(k.data(), {n_k, kHeads, kDim}), vv(v.data(), {n_k, kHeads, kDim});
        std::vector<float> expected(q.size());
        reference::attention_forward_varlen(qv, kv, vv, {expected.data(), {n_q, heads, kDim}}, cu_q,
                                            cu_k, 0.1f, causal);
        for (const char* name :
             {"auto", "flash-192x64", "flash-192x64-affine", "flash-48x64", "flash-96x64-dynamic",
              "flash-192x128", "decode-128", "decode-512", "matmul", "reference"}) {
          const Forced forced(name);
          std::vector<float> out(q.size(), -7.0f);
          attention_forward_varlen(qv, kv, vv, {out.data(), {n_q, heads, kDim}}, cu_q, cu_k, 0.1f,
                                   causal);
          EXPECT_TRUE(all_close(out, expected, kTolerance))
              << name << " n_q " << n_q << " n_k " << n_k << " causal " << causal << " group "
              << group;
        }
      }
    }
  }
}

TEST_P(AttentionChoice, ABatchIsItsSequences) {
  constexpr std::int64_t kBatch = 3, kHeads = 2, kGroup = 2, kDim = 64;
  for (const auto& [n_q, n_k] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 200}, {40, 100}, {0, 9}, {7, 0}}) {
    const std::int64_t heads = kHeads * kGroup;
    const std::vector<float> q = rows(kBatch * n_q, heads, kDim, 1),
                             k = rows(kBatch * n_k, kHeads, kDim, 2),
                             v = rows(kBatch * n_k, kHeads, kDim, 3);
    std::vector<float> out(q.size()), expected(q.size());
    attention_forward({q.data(), {kBatch, n_q, heads, kDim}},
                      TensorView<const float>(k.data(), {kBatch, n_k, kHeads, kDim}),
                      TensorView<const float>(v.data(), {kBatch, n_k, kHeads, kDim}),
                      {out.data(), {kBatch, n_q, heads, kDim}}, 0.125f, true);
    for (std::int64_t b = 0; b < kBatch; ++b) {
      const std::int64_t kv = b * n_k * kHeads * kDim;
      reference::attention({q.data() + b * n_q * heads * kDim, {n_q, heads, kDim}},
                           TensorView<const float>(k.data() + kv, {n_k, kHeads, kDim}),
                           TensorView<const float>(v.data() + kv, {n_k, kHeads, kDim}),
                           {expected.data() + b * n_q * heads * kDim, {n_q, heads, kDim}}, 0.125f,
                           true);
    }
    EXPECT_TRUE(all_close(out, expected, kTolerance)) << "n_q " << n_q << " n_k " << n_k;
  }
}

TEST_P(AttentionChoice, ABatchInInt8HasItsOwnScales) {
  constexpr std::int64_t kBatch = 2, kHeads = 2, kDim = 64;
  for (const std::int64_t n_q : {std::int64_t{1}, std::int64_t{30}}) {
    constexpr std::int64_t kKeys = 90;
    const std::vector<float> q = rows(kBatch * n_q, kHeads, kDim, 1);
    std::vector<std::int8_t> values;
    for (const float v : random_floats(kBatch * kKeys * kHeads * kDim, 2, 127.0f)) {
      values.push_back(static_cast<std::int8_t>(v));
    }
    std::vector<float> scales;
    for (const float v : random_floats(kBatch * kKeys * kHeads, 3)) {
      scales.push_back((v + 1.1f) / 127.0f);
    }
    const auto part = [&](std::int64_t b) {
      return Int8Heads{{values.data() + b * kKeys * kHeads * kDim, {kKeys, kHeads, kDim}},
                       {scales.data() + b * kKeys * kHeads, {kKeys, kHeads}}};
    };
    const Int8Heads all = {{values.data(), {kBatch, kKeys, kHeads, kDim}},
                           {scales.data(), {kBatch, kKeys, kHeads}}};
    std::vector<float> expected(q.size());
    for (std::int64_t b = 0; b < kBatch; ++b) {
      const std::int64_t at = b * n_q * kHeads * kDim;
      reference::attention({q.data() + at, {n_q, kHeads, kDim}}, part(b), part(b),
                           {expected.data() + at, {n_q, kHeads, kDim}}, 0.1f, true);
    }
    for (const char* name : {"auto", "flash-96x64", "matmul", "reference"}) {
      const Forced forced(name);
      std::vector<float> out(q.size());
      attention_forward({q.data(), {kBatch, n_q, kHeads, kDim}}, all, all,
                        {out.data(), {kBatch, n_q, kHeads, kDim}}, 0.1f, true);
      EXPECT_TRUE(all_close(out, expected, {.atol = 1e-4, .rtol = 1e-4})) << name << " " << n_q;
    }
  }
}

}  // namespace
}  // namespace reelm::kernels
