#include "llm/qwen2_vl/config.h"

#include <gtest/gtest.h>

#include "tests/support/config_testing.h"

namespace reelm::llm::qwen2_vl {
namespace {

using DecoderConfigTest = testing::ConfigTest<load_decoder_config>;

// The sizes of Qwen2-VL-2B-Instruct.
constexpr const char* kSizes = R"("hidden_size": 1536, "intermediate_size": 8960,
  "max_position_embeddings": 32768, "num_attention_heads": 12, "num_hidden_layers": 28,
  "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "vocab_size": 151936, "hidden_act": "silu",
  "use_sliding_window": false)";

TEST_F(DecoderConfigTest, ReadsTheFlatLayout) {
  const DecoderConfig c = load(std::string("{") + kSizes + R"(, "rope_theta": 1000000.0,
      "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
      "image_token_id": 151655, "video_token_id": 151656, "tie_word_embeddings": true})");
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_EQ(c.mrope_section, (std::vector<std::int64_t>{16, 24, 24}));
  EXPECT_EQ(c.vision_tokens.video, 151656);
  EXPECT_TRUE(c.tie_word_embeddings);
}

TEST_F(DecoderConfigTest, ReadsTheNestedLayout) {
  const DecoderConfig c = load(std::string(R"({"text_config": {)") + kSizes + R"(,
      "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default",
                          "mrope_section": [20, 22, 22]}, "tie_word_embeddings": true},
      "image_token_id": 5, "video_token_id": 6})");
  EXPECT_EQ(c.rope_theta, 1e4);
  EXPECT_EQ(c.mrope_section, (std::vector<std::int64_t>{20, 22, 22}));
  EXPECT_EQ(c.vision_tokens.image, 5);
  EXPECT_TRUE(c.tie_word_embeddings);
}

TEST_F(DecoderConfigTest, NamesWhatIsWrong) {
  const auto with = [&](const std::string& more) {
    return error_of(std::string("{") + kSizes + more + "}");
  };
  EXPECT_EQ(with(""), "");
  EXPECT_NE(with(R"(, "rope_scaling": {"type": "yarn"})").find("yarn"), std::string::npos);
  EXPECT_NE(with(R"(, "rope_scaling": {"mrope_section": [1, 2, 3]})").find("64"),
            std::string::npos);
  EXPECT_NE(with(R"(, "rope_scaling": {"mrope_section": [64]})").find("mrope_section"),
            std::string::npos);
  EXPECT_NE(with(R"(, "head_dim": 100)").find("head_dim"), std::string::npos);
  EXPECT_NE(with(R"(, "image_token_id": 151936)").find("image_token_id"), std::string::npos);
  EXPECT_NE(error_of(R"({"hidden_size": 1e300})").find("hidden_size"), std::string::npos);
  EXPECT_NE(error_of("[]").find("config.json"), std::string::npos);
}

}  // namespace
}  // namespace reelm::llm::qwen2_vl
