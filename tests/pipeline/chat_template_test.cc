#include "pipeline/chat_template.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "tests/support/scratch_dir.h"

namespace reelm::pipeline {
namespace {

// Of the published checkpoints, as their tokenizer_config.json spells them once JSON is read.
constexpr const char* kQwen2 =
    R"({% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %})"
    R"({{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %})"
    R"({{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}})"
    R"({% endfor %})";
constexpr const char* kQwen25 =
    R"({%- if tools %}
    {{- '<|im_start|>system\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\n\n# Tools\n\n<tool_call>\n<|im_end|>\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\n' + messages[0]['content'] + '<|im_end|>\n' }}
    {%- else %}
        {{- '<|im_start|>system\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n' }}
    {%- endif %}
{%- endif %})";
constexpr const char* kQwen25Says =
    "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.";

TEST(DefaultSystem, IsTheTemplates) {
  EXPECT_EQ(default_system_of(kQwen2), "You are a helpful assistant.");
  EXPECT_EQ(default_system_of(kQwen25), kQwen25Says);
  // Qwen2-VL's has it outside of the braces, with a real line break.
  EXPECT_EQ(default_system_of("{% if loop.first %}<|im_start|>system\nYou're \"it\".<|im_end|>\n"),
            "You're \"it\".");
  EXPECT_EQ(default_system_of(R"({{ "<|im_start|>system\nSay \"no\",\nit's best.<|im_end|>" }})"),
            "Say \"no\",\nit's best.");
  EXPECT_EQ(default_system_of(R"({{ '<|im_start|>system\n<|im_end|>\n' }})"), "");
}

TEST(DefaultSystem, IsNoneWhereTheTemplateHasNone) {
  EXPECT_EQ(default_system_of(""), std::nullopt);
  EXPECT_EQ(default_system_of(R"({{ '<|im_start|>system\n' + text + '<|im_end|>\n' }})"),
            std::nullopt);
  EXPECT_EQ(default_system_of("<|im_start|>system\n{{ text }}<|im_end|>\n"), std::nullopt);
  EXPECT_EQ(default_system_of("<|im_start|>system\nwithout an end"), std::nullopt);
  EXPECT_EQ(default_system_of(R"({{ '<|im_start|>system\nwithout an end\)"), std::nullopt);
  EXPECT_EQ(default_system_of("<|im_start|>systematic<|im_end|>"), std::nullopt);
  EXPECT_EQ(default_system_of("<|im_start|>system\nopen <|im_start|>user\n<|im_end|>"),
            std::nullopt);
}

class LoadDefaultSystem : public testing::ScratchDirTest {
 protected:
  static std::string document(const Json& chat_template) {
    return Json({{"chat_template", chat_template}}).dump();
  }
};

TEST_F(LoadDefaultSystem, LooksInEveryPlace) {
  EXPECT_EQ(load_default_system(dir_), std::nullopt);
  write("tokenizer_config.json", "{}");
  EXPECT_EQ(load_default_system(dir_), std::nullopt);
  const Json named = {{{"name", "tool_use"}, {"template", kQwen2}},
                      {{"name", "default"}, {"template", kQwen25}}};
  write("tokenizer_config.json", document(named));
  EXPECT_EQ(load_default_system(dir_), kQwen25Says);
  write("chat_template.json", document(kQwen2));
  EXPECT_EQ(load_default_system(dir_), "You are a helpful assistant.");
  write("chat_template.jinja", kQwen25);
  EXPECT_EQ(load_default_system(dir_), kQwen25Says);
}

TEST_F(LoadDefaultSystem, NamesTheFileThatIsWrong) {
  write("tokenizer_config.json", document(3));
  try {
    (void)load_default_system(dir_);
    FAIL() << "a number is no template";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kFormat);
    EXPECT_NE(std::string(error.what()).find("tokenizer_config.json"), std::string::npos);
  }
  write("chat_template.jinja", kQwen2);
  Limits limits;
  limits.json_bytes = 10;
  EXPECT_THROW((void)load_default_system(dir_, limits), Error);
}

}  // namespace
}  // namespace reelm::pipeline
