// Qwen3-VL's language model: its config, the order of its rotary frequencies, and deep-stack rows.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/error.h"
#include "llm/qwen3_vl/decoder.h"
#include "tests/support/compare.h"
#include "tests/support/config_testing.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::llm::qwen3_vl {
namespace {

using ::testing::HasSubstr;

class Qwen3VlConfigTest : public testing::ConfigTest<load_decoder_config> {
 protected:
  // The language model of Qwen3-VL-4B-Instruct.
  Qwen3VlConfigTest()
      : ConfigTest(R"({"image_token_id": 151655, "video_token_id": 151656,
            "tie_word_embeddings": true, "text_config": {"hidden_size": 2560,
            "intermediate_size": 9728, "max_position_embeddings": 262144,
            "num_attention_heads": 32, "num_hidden_layers": 36, "num_key_value_heads": 8,
            "rms_norm_eps": 1e-06, "vocab_size": 151936, "hidden_act": "silu",
            "rope_theta": 5000000, "rope_scaling": {"rope_type": "default",
            "mrope_section": [24, 20, 20], "mrope_interleaved": true})",
                   "}}") {}
};

TEST_F(Qwen3VlConfigTest, ReadsTheSizesOf4B) {
  const DecoderConfig c = load(R"(, "head_dim": 128, "attention_bias": false)");
  EXPECT_EQ(c.head_dim, 128);  // 32 heads of 128 beside a hidden_size of 2560
  EXPECT_EQ(c.rope_theta, 5e6);
  EXPECT_EQ(c.vision_tokens.video, 151656);
  EXPECT_TRUE(c.tie_word_embeddings);
  EXPECT_TRUE(c.qk_norm);
  EXPECT_EQ(std::reduce(c.mrope_section.begin(), c.mrope_section.end()), 64);
  EXPECT_EQ(load().head_dim, 128);  // as transformers
}

TEST_F(Qwen3VlConfigTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(error_of(R"(, "attention_bias": true)"), HasSubstr("'attention_bias' is true"));
  EXPECT_THAT(error_of(R"(, "rope_scaling": {"mrope_interleaved": false})"),
              HasSubstr("'mrope_interleaved' is false, expected true"));
  EXPECT_THAT(error_of(R"(, "head_dim": 64)"), HasSubstr("mrope_section sums to 64, expected"));
  EXPECT_THAT(error_of(R"(, "head_dim": 63)"), HasSubstr("head_dim is 63, expected an even one"));
}

// Frequency j turns with axis j % 3 while the section has any left of it, else with t.
TEST(InterleavedMrope, FrequenciesTakeTurns) {
  for (const std::array<std::int64_t, 3> section :
       {std::array<std::int64_t, 3>{24, 20, 20}, {4, 2, 2}, {8, 4, 4}, {5, 0, 3}, {3, 0, 0}}) {
    const std::vector<std::int64_t> parts = interleaved_mrope_section(section);
    std::vector<std::int64_t> axes;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      axes.insert(axes.end(), static_cast<std::size_t>(parts[i]), static_cast<std::int64_t>(i % 3));
    }
    const std::int64_t half = section[0] + section[1] + section[2];
    std::vector<std::int64_t> expected(static_cast<std::size_t>(half), 0);
    for (std::int64_t axis = 1; axis < 3; ++axis) {  // recomposition_frequencies' slices
      for (std::int64_t j = axis; j < std::min(half, 3 * section[static_cast<std::size_t>(axis)]);
           j += 3) {
        expected[static_cast<std::size_t>(j)] = axis;
      }
    }
    EXPECT_EQ(axes, expected);
  }
}

class Qwen3VlDecoderTest : public testing::ScratchDirTest {
 protected:
  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "qwen3_vl_odd_f32");
    config_ = load_decoder_config(dir_);
    config_.deepstack_layers = 3;
    checkpoint_ = std::make_shared<const Checkpoint>(Checkpoint::open(dir_));
    decoder_ = make_decoder(config_, layers::WeightReader(checkpoint_), kernels::ComputeType::kF32);
  }
  /// Logits behind five tokens, the middle ones of vision, taken in up to `pause` first.
  std::vector<float> logits(const std::vector<float>& rows, std::int64_t pause = 0) {
    const TokenId pad = config_.vision_tokens.video;
    const std::vector<TokenId> ids = {3, pad, pad, pad, 4};
    const std::vector<std::int64_t> positions = {0, 1, 1, 1, 3, 0, 1, 1, 2, 3, 0, 1, 2, 1, 3};
    KvCache cache(decoder_->kv_shape(), KvType::kF32, 5);
    std::vector<float> out(static_cast<std::size_t>(config_.vocab_size));
    const std::int64_t width = std::ssize(rows) / 3;
    const auto piece = [&](std::int64_t begin, std::int64_t end, TensorView<float> to) {
      const std::int64_t first = std::clamp<std::int64_t>(begin - 1, 0, 3);
      const std::int64_t last = std::clamp<std::int64_t>(end - 1, 0, 3);
      decoder_->prefill({std::span(ids).subspan(static_cast<std::size_t>(begin),
                                                static_cast<std::size_t>(end - begin)),
                         {positions.data() + begin, {3, end - begin}, {5, 1}},
                         {rows.data() + first * width, {last - first, width}}},
                        cache, to, nullptr);
    };
    if (pause > 0) piece(0, pause, {});
    piece(pause, 5, {out.data(), {config_.vocab_size}});
    return out;
  }
  std::vector<float> rows() const {
    std::vector<float> out(static_cast<std::size_t>(3 * 4 * config_.hidden_size));
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<float>(i % 17) / 8 - 1;
    return out;
  }

  DecoderConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
  std::unique_ptr<Decoder> decoder_;
};

TEST_F(Qwen3VlDecoderTest, PiecesOfAPromptTakeTheirOwnRows) {
  const std::vector<float> whole = logits(rows());
  for (const std::int64_t pause : {1, 2, 3, 4}) {
    EXPECT_TRUE(testing::all_close(logits(rows(), pause), whole, {.atol = 1e-5, .rtol = 1e-4}));
  }
}

// Features for the last layer reach no later token's logits; those of the first two do.
TEST_F(Qwen3VlDecoderTest, FeaturesAreAddedBehindTheirLayer) {
  const std::vector<float> before = logits(rows());
  for (std::int64_t layer = 0; layer < 3; ++layer) {
    std::vector<float> changed = rows();
    changed[static_cast<std::size_t>((1 + layer) * config_.hidden_size)] += 3.0f;
    EXPECT_EQ(testing::all_equal_bits(logits(changed), before), layer == 2) << layer;
  }
}

TEST_F(Qwen3VlDecoderTest, RefusesRowsWithoutFeatures) {
  try {
    (void)logits(std::vector<float>(static_cast<std::size_t>(3 * config_.hidden_size)));
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("vision rows have 40 values, expected 160"));
  }
}

}  // namespace
}  // namespace reelm::llm::qwen3_vl
