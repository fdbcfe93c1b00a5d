// Properties of the decoder that no golden shows; the numbers themselves are in the goldens.
#include "llm/qwen2/decoder.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <vector>

#include "core/error.h"
#include "tests/llm/demo_decoder.h"
#include "tests/support/compare.h"

namespace reelm::llm::qwen2 {
namespace {

class DecoderTest : public ::testing::TestWithParam<kernels::ComputeType> {
 protected:
  void SetUp() override {
    decoder_ = demo_decoder(GetParam());
    vocabulary_ = decoder_->vocab_size();
  }

  KvCache cache(std::int64_t capacity) const {
    return {decoder_->kv_shape(), decoder_->kv_type(), capacity};
  }
  static std::vector<std::int64_t> positions(std::int64_t first, std::int64_t n) {
    std::vector<std::int64_t> out(static_cast<std::size_t>(3 * n));
    for (std::int64_t i = 0; i < 3 * n; ++i) out[static_cast<std::size_t>(i)] = first + i % n;
    return out;
  }
  /// Feeds text ids and returns the last logits.
  std::vector<float> prefill(std::span<const TokenId> ids, KvCache& kv) {
    std::vector<float> logits(static_cast<std::size_t>(vocabulary_));
    const auto n = static_cast<std::int64_t>(ids.size());
    const std::vector<std::int64_t> p = positions(kv.length(), n);
    decoder_->prefill({ids, {p.data(), {3, n}}, {}}, kv, {logits.data(), {vocabulary_}}, nullptr);
    return logits;
  }
  static std::vector<TokenId> text_ids(std::size_t n) {
    std::vector<TokenId> ids(n);
    for (std::size_t i = 0; i < n; ++i) ids[i] = static_cast<TokenId>((i * 37 + 11) % 1000);
    return ids;
  }
  /// What two orders of summation may differ by.
  testing::Tolerance tolerance() const {
    return GetParam() == kernels::ComputeType::kF32 ? testing::Tolerance{1e-4, 1e-4}
                                                    : testing::Tolerance{0.15, 0.05};
  }

  std::unique_ptr<Decoder> decoder_;
  std::int64_t vocabulary_ = 0;
};

TEST_P(DecoderTest, APromptInPartsIsTheSamePrompt) {
  // 700 is more than the rows done at a time, and no multiple of anything.
  const std::vector<TokenId> ids = text_ids(700);
  KvCache whole = cache(800), parts = cache(800);
  const std::vector<float> expected = prefill(ids, whole);
  (void)prefill(std::span(ids).first(13), parts);
  const std::vector<float> logits = prefill(std::span(ids).subspan(13), parts);
  EXPECT_EQ(parts.length(), 700);
  EXPECT_TRUE(testing::all_close(logits, expected, tolerance()));
}

TEST_P(DecoderTest, PartsOfPrefillRowsGiveTheSameBits) {
  const auto rows = static_cast<std::size_t>(decoder_->prefill_rows());
  const std::vector<TokenId> ids = text_ids(2 * rows + 77);
  KvCache whole = cache(1200), parts = cache(1200);
  const std::vector<float> expected = prefill(ids, whole);
  (void)prefill(std::span(ids).first(rows), parts);
  (void)prefill(std::span(ids).subspan(rows, rows), parts);
  EXPECT_EQ(prefill(std::span(ids).subspan(2 * rows), parts), expected);
}

TEST_P(DecoderTest, StepsGiveWhatPrefillGives) {
  const std::vector<TokenId> ids = text_ids(40);
  KvCache whole = cache(64), stepped = cache(64);
  const std::vector<float> expected = prefill(ids, whole);
  std::vector<float> logits = prefill(std::span(ids).first(30), stepped);
  for (std::size_t i = 30; i < 40; ++i) {
    decoder_->step(ids[i], static_cast<std::int64_t>(i), stepped, {logits.data(), {vocabulary_}});
  }
  EXPECT_TRUE(testing::all_close(logits, expected, tolerance()));
}

TEST_P(DecoderTest, ACacheOfAnyTypeIsTaken) {
  const std::vector<TokenId> ids = text_ids(90);
  KvCache exact(decoder_->kv_shape(), KvType::kF32, 96);
  (void)prefill(std::span(ids).first(80), exact);
  const std::vector<float> expected = prefill(std::span(ids).last(10), exact);
  for (const KvType type : {KvType::kBF16, KvType::kInt8}) {
    KvCache kv(decoder_->kv_shape(), type, 96);
    (void)prefill(std::span(ids).first(80), kv);
    const std::vector<float> logits = prefill(std::span(ids).last(10), kv);
    double error = 0.0, norm = 0.0;
    for (std::size_t i = 0; i < logits.size(); ++i) {
      error += std::pow(logits[i] - expected[i], 2);
      norm += std::pow(expected[i], 2);
    }
    EXPECT_LE(std::sqrt(error / norm), 2e-2) << kv_type_name(type);
  }
}

TEST_P(DecoderTest, WithoutALogitsViewTheCacheIsFilledAllTheSame) {
  const std::vector<TokenId> ids = text_ids(20);
  KvCache whole = cache(32), parts = cache(32);
  const std::vector<float> expected = prefill(ids, whole);
  const std::vector<std::int64_t> p = positions(0, 19);
  decoder_->prefill({std::span(ids).first(19), {p.data(), {3, 19}}, {}}, parts, {}, nullptr);
  EXPECT_EQ(parts.length(), 19);
  EXPECT_TRUE(testing::all_close(prefill(std::span(ids).last(1), parts), expected, tolerance()));
}

TEST_P(DecoderTest, WhatDoesNotFitIsRefusedAndNothingIsKept) {
  const std::vector<TokenId> ids = text_ids(20);
  KvCache small = cache(19);
  EXPECT_THROW((void)prefill(ids, small), Error);
  EXPECT_EQ(small.length(), 0);

  KvCache kv = cache(32);
  for (const TokenId bad : {TokenId{-1}, static_cast<TokenId>(vocabulary_)}) {
    EXPECT_THROW((void)prefill(std::vector<TokenId>{1, bad}, kv), Error);
  }
  EXPECT_THROW((void)prefill({}, kv), Error);
  // A placeholder without a row to stand for it.
  const TokenId video = qwen2_vl::load_decoder_config(REELM_DEMO_MODEL).vision_tokens.video;
  EXPECT_THROW((void)prefill(std::vector<TokenId>{1, video}, kv), Error);
  EXPECT_EQ(kv.length(), 0);
}

TEST_P(DecoderTest, CancelBetweenLayersLeavesTheCacheAsItWas) {
  const std::vector<TokenId> ids = text_ids(8);
  KvCache kv = cache(32);
  CancelToken cancel;
  cancel.cancel();
  const std::vector<std::int64_t> p = positions(0, 8);
  std::vector<float> logits(static_cast<std::size_t>(vocabulary_));
  EXPECT_THROW(
      decoder_->prefill({ids, {p.data(), {3, 8}}, {}}, kv, {logits.data(), {vocabulary_}}, &cancel),
      Error);
  EXPECT_EQ(kv.length(), 0);
}

INSTANTIATE_TEST_SUITE_P(Types, DecoderTest,
                         ::testing::Values(kernels::ComputeType::kF32, kernels::ComputeType::kBF16),
                         [](const auto& instance) {
                           return instance.param == kernels::ComputeType::kF32 ? "F32" : "Bf16";
                         });

}  // namespace
}  // namespace reelm::llm::qwen2
