// What the goldens of the first ChatGLM do not show: contexts that must come whole, answers taken
// in at once, batches, wrong weights.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"
#include "llm/chatglm/decoder.h"
#include "llm/chatglm/positions.h"
#include "tests/support/compare.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::llm::chatglm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

TEST(ChatGlmPositions, AreThoseOfGetPositionIds) {
  // Three tokens of context, the last of them [gMASK]; <sop> is at place 3.
  const std::pair<std::int64_t, std::int64_t> expected[] = {{0, 0}, {1, 0}, {2, 0},
                                                            {2, 1}, {2, 2}, {2, 3}};
  for (std::int64_t place = 0; place < 6; ++place) {
    const auto [position, block] = position_of(place, 3);
    EXPECT_EQ(std::pair(position, block), expected[place]) << place;
  }
  EXPECT_EQ(position_of(4, 0).position, 0);
  EXPECT_EQ(position_of(4, 0).block, 5);
}

TEST(ChatGlmPositions, FrequenciesAreRoundedToF16) {
  // numpy: (1 / 10000 ** (arange(0, 12, 2).astype("f4") / 12)).astype("f2"), of a head of 24.
  const float expected[] = {1.0f,
                            0.2154541015625f,
                            0.046417236328125f,
                            0.01000213623046875f,
                            0.002155303955078125f,
                            0.0004642009735107422f};
  const std::vector<float> found = rotary_frequencies(24);
  ASSERT_EQ(found.size(), 12u);
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(found[i], expected[i]) << i;
    EXPECT_EQ(found[i + 6], found[i]);
  }
}

class ChatGlmDecoderTest : public testing::ScratchDirTest {
 protected:
  static constexpr testing::Tolerance kOrderOfSums = {1e-4, 1e-4};
  static constexpr testing::Tolerance kOther = {1e-2, 1e-2};

  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "chatglm_heads4_bf16");
    config_ = load_decoder_config(dir_);
    decoder_ = make();
  }
  std::unique_ptr<Decoder> make() const {
    return make_decoder(
        config_, layers::WeightReader(std::make_shared<const Checkpoint>(Checkpoint::open(dir_))),
        kernels::ComputeType::kF32);
  }
  KvCache cache() const { return {decoder_->kv_shape(), KvType::kF32, 700}; }
  /// A prompt of n tokens, the last two [gMASK] and <sop>.
  std::vector<TokenId> prompt(std::size_t n) const {
    std::vector<TokenId> ids = text_ids(n);
    ids[n - 2] = config_.gmask_token_id;
    ids[n - 1] = config_.bos_token_id;
    return ids;
  }
  static std::vector<TokenId> text_ids(std::size_t n) {
    std::vector<TokenId> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>(200 + (i * 37 + 11) % 300);
    return ids;
  }
  std::vector<float> prefill(std::span<const TokenId> ids, KvCache& kv,
                             std::int64_t prompt_length = 0, const CancelToken* cancel = nullptr) {
    std::vector<float> logits(static_cast<std::size_t>(decoder_->vocab_size()));
    const std::vector<std::int64_t> unread(3 * ids.size());
    decoder_->prefill({ids, {unread.data(), {3, std::ssize(ids)}}, {}, prompt_length}, kv,
                      {logits.data(), {decoder_->vocab_size()}}, cancel);
    return logits;
  }
  std::vector<float> step(TokenId token, KvCache& kv) {
    std::vector<float> logits(static_cast<std::size_t>(decoder_->vocab_size()));
    decoder_->step(token, 0, kv, {logits.data(), {decoder_->vocab_size()}});
    return logits;
  }
  std::string error_of(const std::function<void()>& run, ErrorCode code) {
    try {
      run();
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    return "";
  }

  DecoderConfig config_;
  std::unique_ptr<Decoder> decoder_;
};

TEST_F(ChatGlmDecoderTest, AnAnswerTakenInAtOnceIsOneInSteps) {
  // Behind a context that is longer than a tile.
  const std::vector<TokenId> ids = prompt(600), answer = text_ids(20);
  std::vector<TokenId> all = ids;
  all.insert(all.end(), answer.begin(), answer.end());
  KvCache whole = cache(), steps = cache(), apart = cache();
  const std::vector<float> expected = prefill(all, whole);
  (void)prefill(ids, steps);
  std::vector<float> found;
  for (const TokenId id : answer) found = step(id, steps);
  EXPECT_TRUE(testing::all_close(found, expected, kOrderOfSums));
  (void)prefill(ids, apart);
  EXPECT_TRUE(testing::all_close(prefill(answer, apart), expected, kOrderOfSums));
  EXPECT_EQ(apart.length(), 620);
}

TEST_F(ChatGlmDecoderTest, TheContextSeesWhatFollowsInIt) {
  // Two prompts that differ in their last word: nothing of the cache before it is the same.
  std::vector<TokenId> one = prompt(12), other = one;
  other[9] = 333;
  KvCache a = cache(), b = cache();
  (void)prefill(one, a);
  (void)prefill(other, b);
  const auto first_row = [](const KvCache& kv, std::int64_t layer) {
    const auto keys = kv.keys_f32(layer, 1);
    return std::vector<float>(keys.data(), keys.data() + keys.size(2));
  };
  EXPECT_EQ(first_row(a, 0), first_row(b, 0));
  EXPECT_FALSE(testing::all_close(first_row(a, 1), first_row(b, 1), kOther));
}

TEST_F(ChatGlmDecoderTest, ThePromptComesWhole) {
  const std::vector<TokenId> ids = prompt(30);
  KvCache kv = cache();
  const auto in_pieces = [&] { (void)prefill(std::span(ids).first(20), kv, 30); };
  EXPECT_THAT(error_of(in_pieces, ErrorCode::kInvalidArgument),
              HasSubstr("20 tokens of a prompt of 30"));
  EXPECT_EQ(kv.length(), 0);
  EXPECT_EQ(decoder_->prefill_rows(), 1024);
  EXPECT_EQ(decoder_->max_position_embeddings(), 1024);
  KvCache large(decoder_->kv_shape(), KvType::kF32, 2000);
  EXPECT_THAT(error_of([&] { (void)prefill(prompt(1025), large); }, ErrorCode::kLimit),
              HasSubstr("1025 tokens, max_sequence_length is 1024"));
}

TEST_F(ChatGlmDecoderTest, AConversationBeginsAgainEachTurn) {
  KvCache kv = cache();
  EXPECT_TRUE(decoder_->goes_on(kv, 30));
  (void)prefill(prompt(30), kv);
  EXPECT_FALSE(decoder_->goes_on(kv, 40));
  kv.truncate(0);
  EXPECT_TRUE(decoder_->goes_on(kv, 40));
  KvCache fresh = cache();
  EXPECT_EQ(prefill(prompt(20), kv), prefill(prompt(20), fresh));
  EXPECT_EQ(step(5, kv), step(5, fresh));
}

TEST_F(ChatGlmDecoderTest, APromptWithoutSopIsContextButForItsLastToken) {
  std::vector<TokenId> ids = prompt(25), other = ids;
  other.back() = 250;
  KvCache a = cache(), b = cache();
  (void)prefill(ids, a);
  (void)prefill(other, b);
  const auto keys_a = a.keys_f32(1, 24), keys_b = b.keys_f32(1, 24);
  for (std::int64_t i = 0; i < 24; ++i) {
    EXPECT_EQ(std::vector<float>(keys_a.row(i), keys_a.row(i) + 16),
              std::vector<float>(keys_b.row(i), keys_b.row(i) + 16));
  }
}

TEST_F(ChatGlmDecoderTest, TheMaskIsWhereTheReferenceExpectsIt) {
  KvCache kv = cache();
  std::vector<TokenId> ids = prompt(10);
  ids[3] = config_.gmask_token_id;
  const char* expected = "is <sop>, expected [gMASK] before it and nowhere else";
  EXPECT_THAT(error_of([&] { (void)prefill(ids, kv); }, ErrorCode::kInvalidArgument),
              HasSubstr(expected));
  ids = prompt(10);
  ids[8] = 200;
  EXPECT_THAT(error_of([&] { (void)prefill(ids, kv); }, ErrorCode::kInvalidArgument),
              HasSubstr(expected));
  EXPECT_EQ(kv.length(), 0);
}

TEST_F(ChatGlmDecoderTest, RowsOfABatchHaveTheirOwnContexts) {
  const std::int64_t vocabulary = decoder_->vocab_size();
  KvCache alone_short = cache(), alone_long = cache(), alone_none = cache();
  KvCache both_short = cache(), both_long = cache(), both_none = cache();
  for (KvCache* kv : {&alone_short, &both_short}) (void)prefill(prompt(5), *kv);
  for (KvCache* kv : {&alone_long, &both_long}) (void)prefill(prompt(100), *kv);
  for (const TokenId token : {210, 220}) {
    std::vector<float> expected, found(static_cast<std::size_t>(3 * vocabulary));
    for (KvCache* kv : {&alone_short, &alone_none, &alone_long}) {
      const std::vector<float> one = step(token, *kv);
      expected.insert(expected.end(), one.begin(), one.end());
    }
    const BatchRow rows[] = {
        {token, 7, &both_short}, {token, 7, &both_none}, {token, 7, &both_long}};
    decoder_->step_batch(rows, {found.data(), {3, vocabulary}});
    EXPECT_TRUE(testing::all_close(found, expected, kOrderOfSums));
  }
}

TEST_F(ChatGlmDecoderTest, CachesOfAllTypes) {
  KvCache exact = cache();
  (void)prefill(prompt(90), exact);
  const std::vector<float> expected = step(210, exact);
  for (const auto& [type, tolerance] :
       {std::pair(KvType::kBF16, 3e-2), std::pair(KvType::kInt8, 8e-2)}) {
    KvCache kv(decoder_->kv_shape(), type, 100);
    (void)prefill(prompt(90), kv);
    const std::vector<float> found = step(210, kv);
    double error = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < found.size(); ++i) {
      error += std::pow(static_cast<double>(found[i]) - static_cast<double>(expected[i]), 2);
      norm += std::pow(static_cast<double>(expected[i]), 2);
    }
    EXPECT_LT(std::sqrt(error / norm), tolerance);
    EXPECT_GT(error, 0.0);
  }
}

TEST_F(ChatGlmDecoderTest, ACancelledPromptLeavesNothing) {
  KvCache kv = cache(), fresh = cache();
  CancelToken cancel;
  cancel.cancel();
  EXPECT_THAT(error_of([&] { (void)prefill(prompt(20), kv, 0, &cancel); }, ErrorCode::kCancelled),
              HasSubstr(""));
  EXPECT_EQ(kv.length(), 0);
  EXPECT_EQ(step(5, kv), step(5, fresh));
}

TEST_F(ChatGlmDecoderTest, ReplicasAnswerAlike) {
  const auto other = decoder_->replica();
  KvCache a = cache(), b = cache();
  const std::vector<float> expected = prefill(prompt(40), a);
  decoder_.swap(const_cast<std::unique_ptr<Decoder>&>(other));
  EXPECT_EQ(prefill(prompt(40), b), expected);
  // 4 bytes of: 1,024 rows of x, q, k, v and a head's angles; 512 of two more and the MLP's.
  EXPECT_EQ(decoder_->workspace_bytes(), 4u * (1024 * (4 * 64 + 16) + 512 * (2 * 64 + 160)));
}

TEST_F(ChatGlmDecoderTest, RefusesWhatDoesNotFit) {
  KvCache kv = cache(), small(decoder_->kv_shape(), KvType::kF32, 9);
  const auto refused = [&](std::vector<TokenId> ids) {
    return error_of([&] { (void)prefill(ids, kv); }, ErrorCode::kInvalidArgument);
  };
  EXPECT_THAT(refused({}), HasSubstr("no tokens"));
  EXPECT_THAT(refused({1, 560}), HasSubstr("token id 560 is outside the vocabulary of 560"));
  EXPECT_THAT(error_of([&] { (void)prefill(prompt(10), small); }, ErrorCode::kLimit),
              HasSubstr("the KV cache is full"));
  const BatchRow rows[] = {{5, 0, &kv}, {6, 0, &kv}};
  std::vector<float> logits(2 * 560);
  EXPECT_THAT(error_of(
                  [&] {
                    decoder_->step_batch(rows, {logits.data(), {2, 560}});
                  },
                  ErrorCode::kInvalidArgument),
              HasSubstr("rows 0 and 1 of the batch share a KV cache"));
}

TEST_F(ChatGlmDecoderTest, WeightsThatDoNotFitAreNamed) {
  config_.num_layers = 4;
  EXPECT_THAT(
      error_of([&] { (void)make(); }, ErrorCode::kNotFound),
      AllOf(HasSubstr("transformer.layers.3.input_layernorm.weight"), HasSubstr(dir_.string())));
  config_.num_layers = 3;
  config_.inner_hidden_size = 96;
  EXPECT_THAT(error_of([&] { (void)make(); }, ErrorCode::kFormat),
              AllOf(HasSubstr("transformer.layers.0.mlp.dense_h_to_4h.bias"), HasSubstr("160"),
                    HasSubstr("96")));
}

}  // namespace
}  // namespace reelm::llm::chatglm
