#include "kernels/tuner.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <thread>

#include "core/error.h"
#include "core/parallel.h"
#include "kernels/attention.h"
#include "kernels/attention_impl.h"
#include "kernels/dispatch.h"
#include "kernels/matmul_impl.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/kernels/stored_blocks.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

TuneKey key_of(std::int32_t size) { return {.sizes = {size}}; }

/// A tuner whose clock is moved by the candidates it runs.
struct Scripted {
  explicit Scripted(std::map<int, double> ms, Tuner::Options options = {}) : cost(std::move(ms)) {
    options.now_ms = [this] { return now; };
    tuner = std::make_unique<Tuner>(std::move(options));
  }
  const TuneEntry* measure(const TuneKey& key, std::vector<Tuner::Candidate> candidates) {
    return tuner->measure(key, candidates, candidates.front().index, [this](int candidate) {
      ++runs;
      now += cost.at(candidate);
    });
  }
  std::map<int, double> cost;
  double now = 100.0;
  int runs = 0;
  std::unique_ptr<Tuner> tuner;
};

TEST(Tuner, KeepsTheFastestAndKnowsItFromThenOn) {
  Scripted s({{0, 5.0}, {1, 4.0}, {2, 3.0}, {3, 6.0}});
  EXPECT_EQ(s.tuner->find(key_of(1)), nullptr);
  const TuneEntry* entry = s.measure(key_of(1), {{0, true}, {1, true}, {2, true}, {3, true}});
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->choice, 2);
  EXPECT_EQ(entry->rule, 0);
  ASSERT_EQ(entry->timings.size(), 4u);
  EXPECT_DOUBLE_EQ(entry->timings[1].ms, 4.0);
  EXPECT_EQ(tune_reason(*entry, 0.03), "40.0 % faster than flash-192x64");
  EXPECT_EQ(s.tuner->find(key_of(1)), entry);
  EXPECT_EQ(s.tuner->find(key_of(2)), nullptr);
  const int runs = s.runs;
  EXPECT_EQ(s.measure(key_of(1), {{0, true}, {1, true}}), entry);
  EXPECT_EQ(s.runs, runs);
}

TEST(Tuner, KeepsTheRuleWithinTheMargin) {
  Scripted s({{0, 100.0}, {1, 98.0}});
  const TuneEntry* entry = s.measure(key_of(1), {{0, true}, {1, true}});
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->choice, 0);
  EXPECT_EQ(tune_reason(*entry, 0.03), "none is 3 % faster: flash-192x64 kept");
  s.cost[1] = 96.0;
  EXPECT_EQ(s.measure(key_of(2), {{0, true}, {1, true}})->choice, 1);
}

TEST(Tuner, ChoosesNothingThatChangesBitsButSaysSo) {
  Scripted s({{0, 10.0}, {1, 9.0}, {2, 5.0}});
  EXPECT_EQ(s.measure(key_of(1), {{0, true}, {1, true}, {2, false}})->choice, 1);
  s.cost[1] = 10.0;
  const TuneEntry* entry = s.measure(key_of(2), {{0, true}, {1, true}, {2, false}});
  EXPECT_EQ(entry->choice, 0);
  EXPECT_EQ(tune_reason(*entry, 0.03),
            "flash-192x64-dynamic would be 50.0 % faster but sums in another order");
}

TEST(Tuner, CountsTheLeastOfSeveralRuns) {
  Scripted s({{0, 4.0}, {1, 3.0}});
  int round = 0;
  const TuneEntry* entry = s.tuner->measure(
      key_of(1), std::vector<Tuner::Candidate>{{0, true}, {1, true}}, 0,
      [&](int candidate) { s.now += candidate == 1 ? 3.0 + 10 * (round++ == 0) : 4.0; });
  EXPECT_EQ(entry->choice, 1);  // though it was held up once
  EXPECT_DOUBLE_EQ(entry->timings[1].ms, 3.0);
}

TEST(Tuner, AWinnerMustWinTwice) {
  Scripted s({{0, 4.0}, {1, 4.0}});
  int runs = 0;  // one to warm up, two rounds of two; then the rule was held up no more
  const Tuner::Options options = {.least_rounds = 2, .rounds = 2, .now_ms = [&] { return s.now; }};
  Tuner tuner(options);
  const TuneEntry* entry =
      tuner.measure(key_of(1), std::vector<Tuner::Candidate>{{0, true}, {1, true}}, 0,
                    [&](int candidate) { s.now += candidate == 0 && ++runs <= 3 ? 6.0 : 4.0; });
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->choice, 0);
  EXPECT_EQ(entry->refuted, 1);
  EXPECT_DOUBLE_EQ(entry->timings[0].ms, 4.0);
  EXPECT_EQ(tune_reason(*entry, 0.03),
            "flash-192x64-affine looked faster, but not twice: flash-192x64 kept");
}

TEST(Tuner, StopsWhenTheTimeOfAShapeOrOfAllIsUsedUp) {
  Scripted s({{0, 30.0}, {1, 30.0}}, {.shape_ms = 60.0, .total_ms = 200.0, .now_ms = {}});
  ASSERT_NE(s.measure(key_of(1), {{0, true}, {1, true}}), nullptr);
  EXPECT_EQ(s.runs, 5);  // once to warm up, two rounds of two
  ASSERT_NE(s.measure(key_of(2), {{0, true}, {1, true}}), nullptr);
  EXPECT_EQ(s.runs, 10);
  EXPECT_EQ(s.measure(key_of(3), {{0, true}, {1, true}}), nullptr);  // 300 ms are gone
  EXPECT_EQ(s.runs, 10);
  EXPECT_EQ(s.tuner->find(key_of(3)), nullptr);
}

TEST(Tuner, MeasuresNothingUnlessItMay) {
  Scripted s({{0, 1.0}}, {.measure = false, .now_ms = {}});
  EXPECT_EQ(s.measure(key_of(1), {{0, true}}), nullptr);
  EXPECT_EQ(s.runs, 0);
  s.tuner->add({{.key = key_of(1), .choice = 4, .rule = 0, .timings = {}}});
  EXPECT_EQ(s.tuner->find(key_of(1))->choice, 4);
}

TEST(Tuner, AddingReplacesAndEnds) {
  Tuner tuner;
  std::vector<TuneEntry> many;
  for (std::size_t i = 0; i < Tuner::kMostEntries + 10; ++i) {
    many.push_back({.key = key_of(static_cast<std::int32_t>(i)), .choice = 1, .timings = {}});
  }
  tuner.add(many);
  tuner.add({{.key = key_of(3), .choice = 2, .timings = {}}});
  tuner.add({{.key = key_of(-1), .choice = 2, .timings = {}}});
  EXPECT_EQ(tuner.entries().size(), Tuner::kMostEntries);
  EXPECT_EQ(tuner.find(key_of(3))->choice, 2);
  EXPECT_EQ(tuner.find(key_of(4))->choice, 1);
  EXPECT_EQ(tuner.find(key_of(-1)), nullptr);
  EXPECT_EQ(tuner.entries()[3].choice, 2);  // in its old place
}

TEST(Tuner, ThreadsLookUpWhileOthersMeasure) {
  Tuner tuner({.shape_ms = 1.0, .total_ms = 1e9, .rounds = 2, .now_ms = [] { return 0.0; }});
  std::vector<std::thread> team;
  std::atomic<int> wrong{0};
  for (int t = 0; t < 4; ++t) {
    team.emplace_back([&] {
      for (std::int32_t i = 0; i < 200; ++i) {
        const std::vector<Tuner::Candidate> candidates = {{0, true}, {1, true}};
        const TuneEntry* found = tuner.find(key_of(i));
        if (found == nullptr) found = tuner.measure(key_of(i), candidates, 0, [](int) {});
        if (found != nullptr && found->key != key_of(i)) ++wrong;
      }
    });
  }
  for (std::thread& thread : team) thread.join();
  EXPECT_EQ(wrong, 0);
}

TEST(Tuner, NoNameTwiceAndTheUnknownIsRefusedWithTheKnown) {
  for (const TunedOp op : {TunedOp::kAttention, TunedOp::kMatmul}) {
    const auto names = candidate_names(op);
    std::vector<std::string> sorted(names.begin(), names.end());
    std::sort(sorted.begin(), sorted.end());
    EXPECT_EQ(std::unique(sorted.begin(), sorted.end()), sorted.end());
    try {
      force_candidate(op, "nonsense");
      FAIL();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
      EXPECT_NE(std::string(e.what()).find("'nonsense'"), std::string::npos);
      for (const char* name : names) {
        EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      }
    }
  }
}

/// Lets kernels ask a tuner while it lives.
class Asked {
 public:
  explicit Asked(Tuner& tuner) { set_tuner(&tuner); }
  ~Asked() { set_tuner(nullptr); }
};

/// A prompt of attention over made-up operands.
struct Prompt {
  Prompt() : q(random_floats(200 * 4 * 64, 1)), k(random_floats(300 * 2 * 64, 2)) {}
  std::vector<float> run() {
    std::vector<float> out(q.size());
    const TensorView<const float> kv(k.data(), {300, 2, 64});
    attention({q.data(), {200, 4, 64}}, kv, kv, {out.data(), {200, 4, 64}}, 0.125f, true);
    return out;
  }
  std::vector<float> q, k;
};

TEST(Tuner, AttentionAsksAndResultsStayTheSame) {
  Prompt prompt;
  const std::vector<float> expected = prompt.run();
  double now = 0.0;
  Tuner tuner({.rounds = 2, .now_ms = [&] { return now += 1.0; }});  // all alike: the rule is kept
  const Asked asked(tuner);
  EXPECT_TRUE(testing::all_equal_bits(prompt.run(), expected));
  std::vector<TuneEntry> entries = tuner.entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].choice, entries[0].rule);
  EXPECT_GT(entries[0].timings.size(), 3u);
  for (const TuneTiming& timing : entries[0].timings) EXPECT_TRUE(timing.eligible);
  prompt.run();
  EXPECT_EQ(tuner.entries().size(), 1u);
  // Whatever a file says, results are those of the rule.
  for (int choice = 0; choice < std::ssize(attention_candidates()); ++choice) {
    entries[0].choice = choice;
    tuner.add(entries);
    EXPECT_TRUE(testing::all_equal_bits(prompt.run(), expected))
        << attention_candidates()[static_cast<std::size_t>(choice)].name;
  }
}

TEST(Tuner, SequencesAndBatchesAsk) {
  const std::vector<std::int64_t> cu_q = {0, 60, 60, 160, 200}, cu_k = {0, 100, 110, 290, 300};
  Prompt prompt;
  const auto varlen = [&] {
    std::vector<float> out(prompt.q.size());
    const TensorView<const float> kv(prompt.k.data(), {300, 2, 64});
    attention_forward_varlen({prompt.q.data(), {200, 4, 64}}, kv, kv, {out.data(), {200, 4, 64}},
                             cu_q, cu_k, 0.125f, false);
    return out;
  };
  const auto batch = [&] {
    std::vector<float> out(prompt.q.size());
    const TensorView<const float> kv(prompt.k.data(), {2, 150, 2, 64});
    attention_forward({prompt.q.data(), {2, 100, 4, 64}}, kv, kv, {out.data(), {2, 100, 4, 64}},
                      0.125f, true);
    return out;
  };
  const std::vector<float> expected_varlen = varlen(), expected_batch = batch();
  for (const bool everything : {false, true}) {
    Tuner tuner({.total_ms = 1e9, .rounds = 2, .everything = everything, .now_ms = {}});
    const Asked asked(tuner);
    EXPECT_TRUE(testing::all_equal_bits(varlen(), expected_varlen)) << everything;
    EXPECT_TRUE(testing::all_equal_bits(batch(), expected_batch)) << everything;
    EXPECT_EQ(tuner.entries().size(), 2u);
  }
}

TEST(Tuner, AReportHasAllCandidatesOfAttention) {
  Prompt prompt;
  Tuner tuner({.rounds = 2, .everything = true, .now_ms = [] { return 0.0; }});
  const Asked asked(tuner);
  prompt.run();
  std::vector<std::string> seen;
  const std::vector<TuneEntry> entries = tuner.entries();
  const auto candidate = [](int i) { return attention_candidates()[static_cast<std::size_t>(i)]; };
  const AttentionCandidate rule = candidate(entries.at(0).rule);
  for (const TuneTiming& timing : entries.at(0).timings) {
    const AttentionCandidate each = candidate(timing.candidate);
    seen.push_back(each.name);
    const bool adds_alike = each.kind == AttentionKind::kFlash && each.tile.keys == rule.tile.keys;
    EXPECT_EQ(timing.eligible, adds_alike) << seen.back();
  }
  EXPECT_NE(std::find(seen.begin(), seen.end(), "reference"), seen.end());
  EXPECT_EQ(std::find(seen.begin(), seen.end(), "decode-512"), seen.end());  // 400 rows
}

class TunedMatmul : public KernelTest {
 protected:
  void TearDown() override {
    KernelTest::TearDown();
    force_candidate(TunedOp::kMatmul, "auto");
    set_num_threads(0);
  }
};
REELM_KERNEL_TEST_SUITE(TunedMatmul);

TEST_P(TunedMatmul, CandidatesThatAddAlikeGiveTheSameBits) {
  constexpr std::int64_t kN = 202, kK = 300, kWholeBlocks = 288;
  const std::vector<float> weight = random_floats(kN * kK, 1), bias = random_floats(kN, 2);
  const auto packed_as = [&](ComputeType type) -> PackedMatrix {
    if (keeps_blocks(type)) return {StoredBlocks(type, kN, kWholeBlocks, 1).matrix(), type};
    return {StoredMatrix{weight.data(), DType::kF32, kN, kK}, type};
  };
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16, ComputeType::kInt8,
                                 ComputeType::kInt4, ComputeType::kQ8_0, ComputeType::kQ4_0}) {
    const PackedMatrix packed = packed_as(type);
    const std::int64_t k = packed.in_features();
    for (const std::int64_t m : {1, 3, 12, 13, 64, 200}) {
      const std::vector<float> x = random_floats(m * k, 3);
      const auto run = [&](const char* name) {
        force_candidate(TunedOp::kMatmul, name);
        std::vector<float> y = random_floats(m * kN, 4);
        matmul({x.data(), {m, k}}, packed, {y.data(), {m, kN}},
               {.bias = bias.data(), .activation = Activation::kGelu, .accumulate = true});
        return y;
      };
      set_num_threads(1);
      const std::vector<float> expected = run("auto");
      const MatmulCandidate& rule =
          matmul_candidates()[static_cast<std::size_t>(matmul_rule(use_table(), m))];
      for (const int threads : {1, 3}) {
        set_num_threads(threads);
        for (const MatmulCandidate& candidate : matmul_candidates()) {
          if (!matmul_same_bits(use_table(), type, candidate, rule)) continue;
          EXPECT_TRUE(testing::all_equal_bits(run(candidate.name), expected))
              << candidate.name << " " << compute_type_name(type) << " m " << m << " threads "
              << threads;
        }
      }
    }
  }
}

TEST(Tuner, ProductsAskAndLeaveTheirResultAlone) {
  constexpr std::int64_t kM = 40, kN = 256, kK = 512;
  const std::vector<float> weight = random_floats(kN * kK, 1), x = random_floats(kM * kK, 2);
  const PackedMatrix packed(StoredMatrix{weight.data(), DType::kF32, kN, kK}, ComputeType::kInt8);
  const auto run = [&] {
    std::vector<float> y = random_floats(kM * kN, 3);
    matmul({x.data(), {kM, kK}}, packed, {y.data(), {kM, kN}}, {.accumulate = true});
    return y;
  };
  const std::vector<float> expected = run();
  double now = 0.0;
  Tuner tuner({.rounds = 2, .now_ms = [&] { return now += 1.0; }});
  const Asked asked(tuner);
  EXPECT_TRUE(testing::all_equal_bits(run(), expected));
  std::vector<TuneEntry> entries = tuner.entries();
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0].key.op, TunedOp::kMatmul);
  for (int choice = 0; choice < std::ssize(matmul_candidates()); ++choice) {
    entries[0].choice = choice;
    tuner.add(entries);
    EXPECT_TRUE(testing::all_equal_bits(run(), expected)) << matmul_candidates()[choice].name;
  }
}

}  // namespace
}  // namespace reelm::kernels
