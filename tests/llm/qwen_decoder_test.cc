// What the goldens of the first Qwen do not show: prompts in pieces, batches, wrong weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "core/error.h"
#include "llm/qwen/decoder.h"
#include "tests/support/compare.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::llm::qwen {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// Trained on 24 positions.
class QwenDecoderTest : public testing::ScratchDirTest {
 protected:
  static constexpr testing::Tolerance kOrderOfSums = {1e-4, 1e-4};

  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "qwen_heads2_bf16");
    config_ = load_decoder_config(dir_);
    decoder_ = make();
  }
  std::unique_ptr<Decoder> make() const {
    return make_decoder(
        config_, layers::WeightReader(std::make_shared<const Checkpoint>(Checkpoint::open(dir_))),
        kernels::ComputeType::kF32);
  }
  KvCache cache() const { return {decoder_->kv_shape(), KvType::kF32, 256}; }
  static std::vector<TokenId> text_ids(std::size_t n) {
    std::vector<TokenId> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>((i * 37 + 11) % 1000);
    return ids;
  }
  /// Takes in ids of a prompt of `prompt_length` tokens; the last logits.
  std::vector<float> prefill(std::span<const TokenId> ids, KvCache& kv,
                             std::int64_t prompt_length = 0) {
    std::vector<float> logits(static_cast<std::size_t>(decoder_->vocab_size()));
    const auto n = static_cast<std::int64_t>(ids.size());
    std::vector<std::int64_t> p(3 * ids.size());
    for (std::int64_t i = 0; i < 3 * n; ++i) p[static_cast<std::size_t>(i)] = kv.length() + i % n;
    decoder_->prefill({ids, {p.data(), {3, n}}, {}, prompt_length}, kv,
                      {logits.data(), {decoder_->vocab_size()}}, nullptr);
    return logits;
  }

  DecoderConfig config_;
  std::unique_ptr<Decoder> decoder_;
};

TEST_F(QwenDecoderTest, PiecesAreStretchedForTheWholePrompt) {
  const std::vector<TokenId> ids = text_ids(110);
  const auto in_pieces = [&](std::int64_t told) {
    KvCache kv = cache();
    (void)prefill(std::span(ids).first(40), kv, told);
    return prefill(std::span(ids).subspan(40), kv, told);
  };
  KvCache whole = cache();
  const std::vector<float> expected = prefill(ids, whole);
  EXPECT_TRUE(testing::all_close(in_pieces(110), expected, kOrderOfSums));
  // As if 40 tokens had been answered and 70 came later: the keys are turned otherwise.
  EXPECT_FALSE(testing::all_close(in_pieces(0), expected, {0.1, 0.1}));
}

TEST_F(QwenDecoderTest, ACacheThatBeginsAgainForgetsTheLastPrompt) {
  const std::vector<TokenId> ids = text_ids(110);
  KvCache fresh = cache(), used = cache();
  const std::vector<float> expected = prefill(std::span(ids).first(30), fresh);
  (void)prefill(ids, used);
  used.truncate(0);
  EXPECT_EQ(prefill(std::span(ids).first(30), used), expected);
}

TEST_F(QwenDecoderTest, RowsOfABatchKeepTheirOwnStretch) {
  const std::vector<TokenId> ids = text_ids(130);
  const std::int64_t vocabulary = decoder_->vocab_size();
  std::vector<float> expected(static_cast<std::size_t>(2 * vocabulary)), found(expected.size());
  KvCache alone_short = cache(), alone_long = cache(), both_short = cache(), both_long = cache();
  for (KvCache* kv : {&alone_short, &both_short}) (void)prefill(std::span(ids).first(20), *kv);
  for (KvCache* kv : {&alone_long, &both_long}) (void)prefill(ids, *kv);
  decoder_->step(5, 20, alone_short, {expected.data(), {vocabulary}});
  decoder_->step(7, 130, alone_long, {expected.data() + vocabulary, {vocabulary}});
  const BatchRow rows[] = {{5, 20, &both_short}, {7, 130, &both_long}};
  decoder_->step_batch(rows, {found.data(), {2, vocabulary}});
  EXPECT_TRUE(testing::all_close(found, expected, kOrderOfSums));
}

TEST_F(QwenDecoderTest, WeightsThatDoNotFitAreNamed) {
  const auto error = [&]() -> std::string {
    try {
      (void)make();
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  config_.decoder.num_hidden_layers = 4;
  EXPECT_THAT(error(), AllOf(HasSubstr("transformer.h.3.ln_1.weight"), HasSubstr(dir_.string())));
  config_.decoder.num_hidden_layers = 3;
  config_.decoder.intermediate_size = 96;
  EXPECT_THAT(error(),
              AllOf(HasSubstr("transformer.h.0.mlp.w2.weight"), HasSubstr("88"), HasSubstr("96")));
}

}  // namespace
}  // namespace reelm::llm::qwen
