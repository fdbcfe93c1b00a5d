#include "pipeline/perplexity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/error.h"

namespace reelm::pipeline {
namespace {

const char kText[] =
    "The yellow square moves down. A red circle moves left. The green star is still.";

PerplexityOptions with_context(std::int64_t context) {
  PerplexityOptions options;
  options.context = context;
  return options;
}

// What the logits themselves say, window by window.
TEST(Perplexity, IsTheMeanSurprise) {
  Model model = open_model(REELM_DEMO_MODEL, {.dtypes = {Dtype::kF32, Dtype::kF32}});
  const std::vector<llm::TokenId> ids = model.tokenizer->encode(kText);
  ASSERT_GT(ids.size(), 9u);
  const std::int64_t window = 8;
  const auto vocabulary = model.decoder->vocab_size();
  std::vector<float> logits(static_cast<std::size_t>(vocabulary));
  double total = 0.0;
  std::int64_t scored = 0;
  for (std::size_t first = 0; first < ids.size(); first += window) {
    llm::KvCache cache(model.decoder->kv_shape(), model.decoder->kv_type(), window);
    for (std::size_t i = first; i + 1 < std::min(ids.size(), first + window); ++i) {
      const std::vector<std::int64_t> positions(3, static_cast<std::int64_t>(i - first));
      model.decoder->prefill({std::span(&ids[i], 1), {positions.data(), {3, 1}}, {}}, cache,
                             {logits.data(), {vocabulary}}, nullptr);
      double sum = 0.0;
      for (const float v : logits) sum += std::exp(static_cast<double>(v));
      total += std::log(sum) - static_cast<double>(logits[static_cast<std::size_t>(ids[i + 1])]);
      ++scored;
    }
  }
  const PerplexityReport report = perplexity(model, kText, with_context(window));
  EXPECT_EQ(report.tokens, static_cast<std::int64_t>(ids.size()));
  EXPECT_EQ(report.scored, scored);
  EXPECT_NEAR(report.negative_log_likelihood, total / static_cast<double>(scored), 1e-5);
  EXPECT_NEAR(report.perplexity, std::exp(report.negative_log_likelihood), 1e-9);
}

TEST(Perplexity, IsOfTheCacheThatWasAskedFor) {
  Model model = open_model(REELM_DEMO_MODEL, {.dtypes = {Dtype::kF32, Dtype::kF32}});
  PerplexityOptions options = with_context(32);
  const double exact = perplexity(model, kText, options).negative_log_likelihood;
  options.kv_dtype = llm::KvType::kF32;
  EXPECT_EQ(perplexity(model, kText, options).negative_log_likelihood, exact);
  options.kv_dtype = llm::KvType::kInt8;
  const double rounded = perplexity(model, kText, options).negative_log_likelihood;
  EXPECT_NE(rounded, exact);
  EXPECT_NEAR(rounded, exact, 1e-2 * exact);
}

TEST(Perplexity, RefusesWhatSaysNothing) {
  Model model = open_model(REELM_DEMO_MODEL);
  EXPECT_THROW((void)perplexity(model, ""), Error);
  EXPECT_THROW((void)perplexity(model, kText, with_context(1)), Error);
  EXPECT_THROW((void)perplexity(model, kText, with_context(std::int64_t{1} << 40)), Error);
  CancelToken cancel;
  cancel.cancel();
  PerplexityOptions options;
  options.cancel = &cancel;
  EXPECT_THROW((void)perplexity(model, kText, options), Error);
}

}  // namespace
}  // namespace reelm::pipeline
