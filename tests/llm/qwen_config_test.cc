#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/qwen/config.h"
#include "tests/support/config_testing.h"

namespace reelm::llm::qwen {
namespace {

using ::testing::HasSubstr;

class QwenConfigTest : public testing::ConfigTest<load_decoder_config> {
 protected:
  // Of Qwen-7B-Chat, without the keys of training.
  QwenConfigTest()
      : ConfigTest(R"({"architectures": ["QWenLMHeadModel"], "model_type": "qwen",
            "hidden_size": 4096, "intermediate_size": 22016, "kv_channels": 128,
            "layer_norm_epsilon": 1e-06, "max_position_embeddings": 32768, "no_bias": true,
            "num_attention_heads": 32, "num_hidden_layers": 32, "rotary_emb_base": 10000,
            "rotary_pct": 1.0, "scale_attn_weights": true, "seq_length": 8192,
            "tie_word_embeddings": false, "use_dynamic_ntk": true, "use_logn_attn": true,
            "vocab_size": 151936)",
                   "}") {}
};

TEST_F(QwenConfigTest, ReadsAPublishedOne) {
  const DecoderConfig c = load();
  EXPECT_EQ(c.decoder.intermediate_size, 11008);
  EXPECT_EQ(c.decoder.num_key_value_heads, 32);
  EXPECT_EQ(c.decoder.head_dim, 128);
  EXPECT_EQ(c.decoder.rope_theta, 1e4);
  EXPECT_EQ(c.decoder.max_position_embeddings, 32768);
  EXPECT_EQ(c.seq_length, 8192);
  EXPECT_TRUE(c.use_dynamic_ntk);
  EXPECT_TRUE(c.use_logn_attn);
  EXPECT_FALSE(c.decoder.tie_word_embeddings);
}

TEST_F(QwenConfigTest, LongPromptsMayBeLeftAlone) {
  const DecoderConfig c = load(R"(, "use_dynamic_ntk": false, "use_logn_attn": false)");
  EXPECT_FALSE(c.use_dynamic_ntk);
  EXPECT_FALSE(c.use_logn_attn);
}

TEST_F(QwenConfigTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(refused(R"(, "no_bias": false)"), HasSubstr("'no_bias' is false, expected true"));
  EXPECT_THAT(refused(R"(, "scale_attn_weights": false)"), HasSubstr("'scale_attn_weights'"));
  EXPECT_THAT(refused(R"(, "rotary_pct": 0.5)"), HasSubstr("'rotary_pct' is 0.5, expected 1"));
  EXPECT_THAT(refused(R"(, "visual": {"layers": 48})"), HasSubstr("has 'visual'"));
}

TEST_F(QwenConfigTest, RefusesWrongValues) {
  EXPECT_THAT(wrong(R"(, "intermediate_size": 11007)"),
              HasSubstr("intermediate_size 11007 is odd"));
  EXPECT_THAT(wrong(R"(, "kv_channels": 64)"), HasSubstr("hidden_size 4096"));
  EXPECT_THAT(wrong(R"(, "kv_channels": 2)"), HasSubstr("kv_channels"));
  EXPECT_THAT(wrong(R"(, "seq_length": 1)"), HasSubstr("seq_length"));
  EXPECT_THAT(wrong(R"(, "seq_length": null)"), HasSubstr("seq_length"));
  EXPECT_THAT(wrong(R"(, "rotary_emb_base": 0)"), HasSubstr("rope_theta 0"));
  EXPECT_THAT(wrong(R"(, "layer_norm_epsilon": 2)"), HasSubstr("rms_norm_eps 2"));
}

}  // namespace
}  // namespace reelm::llm::qwen
