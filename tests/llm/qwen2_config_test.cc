#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/qwen2/config.h"
#include "tests/support/config_testing.h"

namespace reelm::llm::qwen2 {
namespace {

using ::testing::HasSubstr;

class Qwen2ConfigTest : public testing::ConfigTest<load_decoder_config> {
 protected:
  // The sizes of Qwen2.5-0.5B-Instruct.
  Qwen2ConfigTest()
      : ConfigTest(R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
            "hidden_size": 896, "intermediate_size": 4864, "max_position_embeddings": 32768,
            "num_attention_heads": 14, "num_hidden_layers": 24, "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06, "vocab_size": 151936, "hidden_act": "silu",
            "sliding_window": 32768, "max_window_layers": 21)",
                   "}") {}
};

TEST_F(Qwen2ConfigTest, ReadsAPublishedOne) {
  const DecoderConfig c = load(
      R"(, "rope_theta": 1000000.0, "use_sliding_window": false, "tie_word_embeddings": true)");
  EXPECT_EQ(c.head_dim, 64);
  EXPECT_EQ(c.rope_theta, 1e6);
  EXPECT_EQ(c.mrope_section, (std::vector<std::int64_t>{32, 0, 0}));
  EXPECT_EQ(c.vision_tokens.image, -1);
  EXPECT_EQ(c.vision_tokens.video, -1);
  EXPECT_TRUE(c.tie_word_embeddings);
}

TEST_F(Qwen2ConfigTest, ReadsTheNewLayout) {
  const DecoderConfig c = load(R"(, "layer_types": ["full_attention", "full_attention"],
      "rope_scaling": null, "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"})");
  EXPECT_EQ(c.rope_theta, 5000.0);
  EXPECT_FALSE(c.tie_word_embeddings);
}

TEST_F(Qwen2ConfigTest, HasTheDefaultsOfTransformers) {
  EXPECT_EQ(load().rope_theta, 10000.0);  // RotaryEmbeddingConfigMixin
}

TEST_F(Qwen2ConfigTest, RefusesWhatItCannotDo) {
  for (const std::string kind : {"yarn", "dynamic", "linear", "mrope"}) {
    EXPECT_THAT(refused(R"(, "rope_scaling": {"factor": 4.0, "type": ")" + kind + R"("})"),
                HasSubstr("'type' is '" + kind + "', expected 'default'"));
  }
  EXPECT_THAT(refused(R"(, "rope_parameters": {"rope_type": "yarn"})"),
              HasSubstr("'rope_type' is 'yarn'"));
  EXPECT_THAT(refused(R"(, "use_sliding_window": true)"), HasSubstr("use_sliding_window"));
  EXPECT_THAT(refused(R"(, "layer_types": ["full_attention", "sliding_attention"])"),
              HasSubstr("'layer_types' has \"sliding_attention\""));
}

}  // namespace
}  // namespace reelm::llm::qwen2
