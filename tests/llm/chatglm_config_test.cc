#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/chatglm/config.h"
#include "tests/support/config_testing.h"

namespace reelm::llm::chatglm {
namespace {

using ::testing::HasSubstr;

class ChatGlmConfigTest : public testing::ConfigTest<load_decoder_config> {
 protected:
  // Of ChatGLM-6B.
  ChatGlmConfigTest()
      : ConfigTest(R"({"architectures": ["ChatGLMModel"], "model_type": "chatglm",
            "bos_token_id": 130004, "eos_token_id": 130005, "mask_token_id": 130000,
            "gmask_token_id": 130001, "pad_token_id": 3, "hidden_size": 4096,
            "inner_hidden_size": 16384, "layernorm_epsilon": 1e-05, "max_sequence_length": 2048,
            "num_attention_heads": 32, "num_layers": 28, "position_encoding_2d": true,
            "torch_dtype": "float16", "use_cache": true, "vocab_size": 130528)",
                   "}") {}
};

TEST_F(ChatGlmConfigTest, ReadsThePublishedOne) {
  const DecoderConfig c = load(R"(, "quantization_bit": 0, "pre_seq_len": null)");
  EXPECT_EQ(c.hidden_size, 4096);
  EXPECT_EQ(c.inner_hidden_size, 16384);
  EXPECT_EQ(c.num_layers, 28);
  EXPECT_EQ(c.num_attention_heads, 32);
  EXPECT_EQ(c.head_dim, 128);
  EXPECT_EQ(c.vocab_size, 130528);
  EXPECT_EQ(c.max_sequence_length, 2048);
  EXPECT_EQ(c.layernorm_epsilon, 1e-5);
  EXPECT_EQ(c.bos_token_id, 130004);
  EXPECT_EQ(c.gmask_token_id, 130001);
}

TEST_F(ChatGlmConfigTest, TheFirstFilesHaveNoIds) {
  // Of the vocabulary with 20,000 image tokens.
  write("config.json", R"({"model_type": "chatglm", "hidden_size": 4096, "num_layers": 28,
                           "inner_hidden_size": 16384, "num_attention_heads": 32,
                           "vocab_size": 150528})");
  const DecoderConfig c = load_decoder_config(dir_);
  EXPECT_EQ(c.bos_token_id, 150004);
  EXPECT_EQ(c.gmask_token_id, 150001);
  EXPECT_EQ(c.max_sequence_length, 2048);
}

TEST_F(ChatGlmConfigTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(refused(R"(, "position_encoding_2d": false)"),
              HasSubstr("'position_encoding_2d' is false, expected true"));
  EXPECT_THAT(refused(R"(, "quantization_bit": 4)"), HasSubstr("'quantization_bit' is 4"));
  EXPECT_THAT(refused(R"(, "pre_seq_len": 128)"), HasSubstr("has 'pre_seq_len'"));
}

TEST_F(ChatGlmConfigTest, RefusesWrongValues) {
  EXPECT_THAT(wrong(R"(, "num_attention_heads": 24)"), HasSubstr("hidden_size 4096"));
  EXPECT_THAT(wrong(R"(, "hidden_size": 64)"), HasSubstr("a multiple of 4, found 2"));
  EXPECT_THAT(wrong(R"(, "bos_token_id": 130528)"), HasSubstr("bos_token_id 130528 is outside"));
  EXPECT_THAT(wrong(R"(, "gmask_token_id": -1)"), HasSubstr("gmask_token_id"));
  EXPECT_THAT(wrong(R"(, "layernorm_epsilon": 2)"), HasSubstr("layernorm_epsilon 2"));
  EXPECT_THAT(wrong(R"(, "num_layers": 0)"), HasSubstr("num_layers"));
  EXPECT_THAT(wrong(R"(, "inner_hidden_size": null)"), HasSubstr("inner_hidden_size"));
}

}  // namespace
}  // namespace reelm::llm::chatglm
