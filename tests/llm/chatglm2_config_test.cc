#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "llm/chatglm2/config.h"
#include "llm/chatglm2/version.h"
#include "tests/support/config_testing.h"

namespace reelm::llm::chatglm2 {
namespace {

using ::testing::HasSubstr;

class ChatGlm2ConfigTest : public testing::ConfigTest<load_decoder_config> {
 protected:
  // Of ChatGLM2-6B, without the keys of training.
  ChatGlm2ConfigTest()
      : ConfigTest(R"({"_name_or_path": "THUDM/chatglm2-6b", "model_type": "chatglm",
            "add_bias_linear": false, "add_qkv_bias": true, "apply_query_key_layer_scaling": true,
            "apply_residual_connection_post_layernorm": false, "ffn_hidden_size": 13696,
            "hidden_size": 4096, "kv_channels": 128, "layernorm_epsilon": 1e-05,
            "multi_query_attention": true, "multi_query_group_num": 2,
            "num_attention_heads": 32, "num_layers": 28, "original_rope": true,
            "padded_vocab_size": 65024, "post_layer_norm": true, "rmsnorm": true,
            "seq_length": 32768, "tie_word_embeddings": false, "eos_token_id": 2)",
                   "}") {}
};

TEST_F(ChatGlm2ConfigTest, ReadsAPublishedOne) {
  const DecoderConfig c = load();
  EXPECT_EQ(c.decoder.intermediate_size, 13696);
  EXPECT_EQ(c.decoder.num_hidden_layers, 28);
  EXPECT_EQ(c.decoder.num_key_value_heads, 2);
  EXPECT_EQ(c.decoder.head_dim, 128);
  EXPECT_EQ(c.decoder.vocab_size, 65024);
  EXPECT_EQ(c.decoder.max_position_embeddings, 32768);
  EXPECT_EQ(c.decoder.rms_norm_eps, 1e-5);
  EXPECT_EQ(c.decoder.rope_theta, 1e4);
  EXPECT_EQ(c.position_divisor, 1.0);
  EXPECT_TRUE(c.add_qkv_bias);
}

TEST_F(ChatGlm2ConfigTest, RopeRatioMeansWhatTheVersionSays) {
  const DecoderConfig second = load(R"(, "rope_ratio": 4)");
  EXPECT_EQ(second.decoder.rope_theta, 1e4);
  EXPECT_EQ(second.position_divisor, 4.0);
  const DecoderConfig third =
      load(R"(, "rope_ratio": 50, "_name_or_path": "THUDM/ChatGLM3-6B-32k")");
  EXPECT_EQ(third.decoder.rope_theta, 5e5);
  EXPECT_EQ(third.position_divisor, 1.0);
}

TEST_F(ChatGlm2ConfigTest, RefusesWhatItCannotDo) {
  EXPECT_THAT(refused(R"(, "add_bias_linear": true)"),
              HasSubstr("'add_bias_linear' is true, expected false"));
  EXPECT_THAT(refused(R"(, "apply_residual_connection_post_layernorm": true)"),
              HasSubstr("'apply_residual_connection_post_layernorm'"));
  EXPECT_THAT(refused(R"(, "multi_query_attention": false)"),
              HasSubstr("'multi_query_attention' is false, expected true"));
  EXPECT_THAT(refused(R"(, "post_layer_norm": false)"), HasSubstr("'post_layer_norm'"));
  EXPECT_THAT(refused(R"(, "original_rope": false)"), HasSubstr("'original_rope'"));
  EXPECT_THAT(refused(R"(, "rmsnorm": false)"), HasSubstr("'rmsnorm'"));
  EXPECT_THAT(refused(R"(, "quantization_bit": 4)"), HasSubstr("'quantization_bit' is 4"));
  EXPECT_THAT(refused(R"(, "pre_seq_len": 128)"), HasSubstr("has 'pre_seq_len'"));
  EXPECT_THAT(refused(R"(, "vision_config": {})"), HasSubstr("has 'vision_config'"));
}

TEST_F(ChatGlm2ConfigTest, RefusesWrongValues) {
  EXPECT_THAT(wrong(R"(, "kv_channels": 64)"), HasSubstr("hidden_size 4096"));
  EXPECT_THAT(wrong(R"(, "hidden_size": 320, "kv_channels": 10)"), HasSubstr("multiple of 4"));
  EXPECT_THAT(wrong(R"(, "multi_query_group_num": 3)"), HasSubstr("num_key_value_heads 3"));
  EXPECT_THAT(wrong(R"(, "rope_ratio": 0)"), HasSubstr("'rope_ratio' is 0"));
  EXPECT_THAT(wrong(R"(, "padded_vocab_size": null)"), HasSubstr("padded_vocab_size"));
}

TEST_F(ChatGlm2ConfigTest, TheVersionIsFoundByNameOrRoles) {
  EXPECT_EQ(find_version(dir_), std::nullopt);
  put("");
  EXPECT_EQ(find_version(dir_), Version::kChatGlm2);
  put(R"(, "_name_or_path": "mine", "model_type": "qwen2")");
  EXPECT_EQ(find_version(dir_), std::nullopt);
  write("config.json", R"({"model_type": "chatglm"})");  // ChatGLM-6B
  EXPECT_EQ(find_version(dir_), std::nullopt);
  put(R"(, "_name_or_path": "mine")");
  write("tokenizer_config.json", R"({"name_or_path": "THUDM/chatglm2-6b"})");
  EXPECT_EQ(find_version(dir_), Version::kChatGlm2);
  write("tokenizer_config.json", R"({"name_or_path": "THUDM/chatglm3-6b"})");
  EXPECT_EQ(find_version(dir_), Version::kChatGlm3);
  write("tokenizer_config.json",
        R"({"added_tokens_decoder": {"64795": {"content": "<|user|>", "special": false}}})");
  EXPECT_EQ(find_version(dir_), Version::kChatGlm3);
  write("tokenizer_config.json", R"({"chat_template": "{{ 'x<|assistant|>' }}"})");
  EXPECT_EQ(find_version(dir_), Version::kChatGlm3);
}

}  // namespace
}  // namespace reelm::llm::chatglm2
