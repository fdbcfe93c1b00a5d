// Models of the first ChatGLM, whole: conversations as the published code has them
// (tools/make_chatglm_goldens.py), which of the families a directory is, converted models.
#include <gmock/gmock.h>

#include "pipeline/families.h"
#include "pipeline/prompt_format.h"
#include "tests/pipeline/chatglm_testing.h"

namespace reelm::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr const char* kNames[] = {"chatglm_heads4_bf16", "chatglm_images_f32"};

class ChatGlmTest : public ChatGlmModelsTest {
 protected:
  ChatGlmTest() : ChatGlmModelsTest("chatglm") {}
};

TEST_F(ChatGlmTest, ConversationsToldAtOnceAreThePublishedIds) {
  for (const char* name : kNames) {
    make_model(name);
    const Model model = open();
    std::vector<Message> messages;
    ASSERT_GE(goldens_[name]["turns"].size(), 3u);
    for (const Json& golden : goldens_[name]["turns"]) {
      messages.push_back(Message::text("user", golden["question"]));
      EXPECT_EQ(Json(model.prompt_format->prompt(model, messages, {}, {})), golden["prompt_ids"])
          << name << golden.dump() << remake_;
      messages.push_back(Message::text("assistant", golden["answer"]));
    }
  }
}

TEST_F(ChatGlmTest, SessionsAnswerAsThePublishedCode) { expect_turns(kNames); }

TEST_F(ChatGlmTest, ConvertedModelsAreTheSame) { expect_converted_alike(kNames); }

TEST_F(ChatGlmTest, TheFamilyIsTheOneWithoutAKey) {
  make_model(kNames[0]);
  EXPECT_STREQ(find_family(model_, "chatglm").name, "ChatGLM");
  const auto info = supported_families();
  EXPECT_TRUE(std::any_of(info.begin(), info.end(),
                          [](const FamilyInfo& f) { return f.name == "ChatGLM"; }));
}

TEST_F(ChatGlmTest, EopEndsAnAnswer) {
  make_model(kNames[1]);
  const Model model = open();
  EXPECT_THAT(model.generation.eos_token_id,
              ::testing::Contains(*model.tokenizer->special_id("<eop>")));
}

TEST_F(ChatGlmTest, ATokenizerOfOtherIdsIsRefused) {
  make_model(kNames[1]);
  put(model_ / "tokenizer_config.json", R"({"num_image_tokens": 29})");
  const Error error = error_of([&] { (void)open(); });
  EXPECT_EQ(error.code(), ErrorCode::kFormat);
  EXPECT_THAT(error.what(), HasSubstr("bos_token_id is 224 in config.json, but '<sop>' is 223"));
}

TEST_F(ChatGlmTest, SystemMessagesAndLongPromptsAreRefused) {
  make_model("chatglm_images_f32");
  Engine engine(open(), {});
  Request request = Request::question({}, "What?", "Be brief.");
  EXPECT_THAT(error_of([&] { (void)engine.ask(request); }).what(),
              HasSubstr("'system', expected 'user'"));
  std::string text;
  for (int i = 0; i < 300; ++i) text += "a 1 ";
  const Error error = error_of([&] { (void)engine.ask(Request::question({}, text)); });
  EXPECT_EQ(error.code(), ErrorCode::kLimit);
  EXPECT_THAT(error.what(), HasSubstr("max_position_embeddings holds 256"));
}

}  // namespace
}  // namespace reelm::pipeline
