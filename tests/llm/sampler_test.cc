#include "llm/sampler.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "core/error.h"

namespace reelm::llm {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TokenId choose(const SamplingConfig& config, std::vector<float> logits,
               const std::vector<TokenId>& seen = {}) {
  Sampler sampler(config, static_cast<std::int64_t>(logits.size()));
  sampler.see(seen);
  return sampler.sample(logits);
}

/// How often each token is drawn in n draws.
std::map<TokenId, int> draws(SamplingConfig config, const std::vector<float>& logits, int n) {
  config.do_sample = true;
  Sampler sampler(config, static_cast<std::int64_t>(logits.size()));
  std::map<TokenId, int> out;
  for (int i = 0; i < n; ++i) {
    std::vector<float> copy = logits;
    ++out[sampler.sample(copy)];
  }
  return out;
}

TEST(Sampler, GreedyTakesTheLargestAndTheFirstOfEquals) {
  EXPECT_EQ(choose({}, {0.0f, 3.0f, 1.0f}), 1);
  EXPECT_EQ(choose({}, {2.0f, 5.0f, 5.0f}), 1);
  EXPECT_EQ(choose({}, {-kInfinity, -kInfinity, -4.0f}), 2);
}

TEST(Sampler, RepetitionPenaltyWorksOnBothSigns) {
  SamplingConfig config;
  config.repetition_penalty = 2.0;
  // transformers: a positive score is divided, a negative one multiplied.
  EXPECT_EQ(choose(config, {3.0f, 2.0f}, {0}), 1);
  EXPECT_EQ(choose(config, {-1.0f, -1.5f}, {0}), 1);
  EXPECT_EQ(choose(config, {5.0f, 2.0f}, {0}), 0);
}

TEST(Sampler, ChosenTokensCountAsSeen) {
  SamplingConfig config;
  config.repetition_penalty = 2.0;
  Sampler sampler(config, 2);
  std::vector<float> logits = {3.0f, 2.0f};
  EXPECT_EQ(sampler.sample(logits), 0);
  logits = {3.0f, 2.0f};
  EXPECT_EQ(sampler.sample(logits), 1);
}

TEST(Sampler, ProbabilitiesAreThoseOfSoftmax) {
  SamplingConfig config;
  config.top_k = 0;
  config.seed = 7;
  const std::vector<float> logits = {0.0f, std::log(2.0f), std::log(5.0f)};
  const int n = 40000;
  const auto counts = draws(config, logits, n);
  // Standard deviation of a count is below sqrt(n)/2 = 100; the bound is six of them.
  EXPECT_NEAR(counts.at(0), n / 8.0, 600);
  EXPECT_NEAR(counts.at(1), n / 4.0, 600);
  EXPECT_NEAR(counts.at(2), n * 5 / 8.0, 600);
}

TEST(Sampler, TemperatureSharpens) {
  SamplingConfig config;
  config.temperature = 0.5;
  const auto counts = draws(config, {0.0f, std::log(2.0f)}, 40000);
  EXPECT_NEAR(counts.at(1), 40000 * 0.8, 600);  // odds 2^2 to 1
}

TEST(Sampler, TopKKeepsTiesWithTheLast) {
  SamplingConfig config;
  config.top_k = 2;
  const auto counts = draws(config, {1.0f, 3.0f, 2.0f, 2.0f, 0.0f}, 2000);
  std::set<TokenId> drawn;
  for (const auto& [token, count] : counts) drawn.insert(token);
  EXPECT_EQ(drawn, (std::set<TokenId>{1, 2, 3}));
}

TEST(Sampler, TopPKeepsTheNucleusAndAtLeastOne) {
  SamplingConfig config;
  config.top_p = 0.6;
  // Probabilities 0.5, 0.3, 0.2: 0.5 is not enough, 0.8 is.
  const std::vector<float> logits = {std::log(0.5f), std::log(0.3f), std::log(0.2f)};
  auto counts = draws(config, logits, 2000);
  EXPECT_EQ(counts.count(2), 0u);
  EXPECT_EQ(counts.count(1), 1u);
  config.top_p = 1e-3;
  counts = draws(config, logits, 200);
  EXPECT_EQ(counts.size(), 1u);
  EXPECT_EQ(counts.count(0), 1u);
}

TEST(Sampler, TheSameSeedGivesTheSameTokens) {
  SamplingConfig config;
  config.do_sample = true;
  config.seed = 42;
  std::vector<float> logits(100);
  for (std::size_t i = 0; i < logits.size(); ++i) logits[i] = std::sin(static_cast<float>(i));
  const auto run = [&] {
    Sampler sampler(config, 100);
    std::vector<TokenId> out;
    for (int i = 0; i < 50; ++i) {
      std::vector<float> copy = logits;
      out.push_back(sampler.sample(copy));
    }
    return out;
  };
  const auto first = run();
  EXPECT_EQ(first, run());
  config.seed = 43;
  EXPECT_NE(first, run());
}

TEST(Sampler, NotANumberIsNoAnswer) {
  EXPECT_THROW(choose({}, {0.0f, std::numeric_limits<float>::quiet_NaN()}), Error);
}

TEST(Sampler, SettingsOutOfRangeAreRefused) {
  const auto refused = [](auto change) {
    SamplingConfig config;
    config.do_sample = true;
    change(config);
    EXPECT_THROW(validate(config), Error);
  };
  refused([](SamplingConfig& c) { c.temperature = 0.0; });
  refused([](SamplingConfig& c) { c.temperature = NAN; });
  refused([](SamplingConfig& c) { c.top_p = 0.0; });
  refused([](SamplingConfig& c) { c.top_p = 1.1; });
  refused([](SamplingConfig& c) { c.top_k = -1; });
  refused([](SamplingConfig& c) { c.repetition_penalty = 0.0; });
  refused([](SamplingConfig& c) { c.repetition_penalty = INFINITY; });
}

}  // namespace
}  // namespace reelm::llm
