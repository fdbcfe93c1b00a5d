#include "pipeline/generation_config.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/scratch_dir.h"

namespace reelm::pipeline {
namespace {

using GenerationConfigTest = testing::ScratchDirTest;

TEST_F(GenerationConfigTest, ReadsTheInstructModelsFile) {
  write("generation_config.json",
        R"({"do_sample": true, "eos_token_id": [151645, 151643], "repetition_penalty": 1.05,
            "temperature": 0.1, "top_p": 0.001, "top_k": 1})");
  const GenerationConfig c = load_generation_config(dir_);
  EXPECT_TRUE(c.sampling.do_sample);
  EXPECT_DOUBLE_EQ(c.sampling.temperature, 0.1);
  EXPECT_DOUBLE_EQ(c.sampling.top_p, 0.001);
  EXPECT_EQ(c.sampling.top_k, 1);
  EXPECT_DOUBLE_EQ(c.sampling.repetition_penalty, 1.05);
  EXPECT_EQ(c.eos_token_id, (std::vector<llm::TokenId>{151645, 151643}));
  EXPECT_FALSE(c.max_new_tokens.has_value());
}

TEST_F(GenerationConfigTest, WithoutItTheConfigSaysWhereToStop) {
  write("config.json", R"({"eos_token_id": 7})");
  EXPECT_EQ(load_generation_config(dir_).eos_token_id, std::vector<llm::TokenId>{7});
  write("config.json", R"({"text_config": {"eos_token_id": 9}})");
  const GenerationConfig c = load_generation_config(dir_);
  EXPECT_EQ(c.eos_token_id, std::vector<llm::TokenId>{9});
  EXPECT_FALSE(c.sampling.do_sample);
  EXPECT_EQ(c.sampling.top_k, 50);  // transformers' default
}

TEST_F(GenerationConfigTest, TheFirstQwenNamesItsChatFormat) {
  write("generation_config.json", R"({"chat_format": "chatml", "eos_token_id": 151643})");
  EXPECT_EQ(load_generation_config(dir_).chat_format, "chatml");
  write("generation_config.json", R"({"eos_token_id": 151643})");
  EXPECT_EQ(load_generation_config(dir_).chat_format, "");
}

TEST_F(GenerationConfigTest, RefusesWhatIsOutOfRange) {
  for (const char* text :
       {R"([1])", R"({"eos_token_id": -1})", R"({"eos_token_id": "x"})", R"({"top_p": 2})",
        R"({"do_sample": true, "temperature": 0})", R"({"repetition_penalty": -1})",
        R"({"max_new_tokens": 0})", R"({"top_k": 1.5})", "{"}) {
    write("generation_config.json", text);
    EXPECT_THROW((void)load_generation_config(dir_), Error) << text;
  }
}

}  // namespace
}  // namespace reelm::pipeline
