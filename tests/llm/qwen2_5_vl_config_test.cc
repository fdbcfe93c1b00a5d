#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/qwen2_5_vl/config.h"
#include "tests/support/config_testing.h"

namespace reelm::llm::qwen2_5_vl {
namespace {

using ::testing::HasSubstr;

class Qwen25VlConfigTest : public testing::ConfigTest<load_config> {
 protected:
  // The language model of Qwen2.5-VL-3B-Instruct.
  Qwen25VlConfigTest()
      : ConfigTest(R"({"hidden_size": 2048, "intermediate_size": 11008,
            "max_position_embeddings": 128000, "num_attention_heads": 16, "num_hidden_layers": 36,
            "num_key_value_heads": 2, "rms_norm_eps": 1e-06, "vocab_size": 151936,
            "hidden_act": "silu", "rope_theta": 1000000.0,
            "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
            "image_token_id": 151655, "video_token_id": 151656, "tie_word_embeddings": true)",
                   "}") {}
};

TEST_F(Qwen25VlConfigTest, ReadsThePublishedFile) {
  const Config c = load(R"(, "vision_config": {"tokens_per_second": 2})");
  EXPECT_EQ(c.decoder.head_dim, 128);
  EXPECT_EQ(c.decoder.mrope_section, (std::vector<std::int64_t>{16, 24, 24}));
  EXPECT_EQ(c.decoder.vision_tokens.video, 151656);
  EXPECT_EQ(c.tokens_per_second, 2.0);
  EXPECT_EQ(load(R"(, "vision_config": {})").tokens_per_second, 4.0);  // as transformers
}

TEST_F(Qwen25VlConfigTest, NamesWhatIsWrong) {
  EXPECT_THAT(error_of(R"(, "vision_config": {"tokens_per_second": 0})"),
              HasSubstr("'tokens_per_second' is 0, expected above 0"));
  EXPECT_THAT(error_of(R"(, "vision_config": {"tokens_per_second": "2"})"),
              HasSubstr("tokens_per_second"));
}

}  // namespace
}  // namespace reelm::llm::qwen2_5_vl
