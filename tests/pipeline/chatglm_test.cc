// Models of the first ChatGLM, whole: conversations as the published code has them
// (tools/make_chatglm_goldens.py), which of the families a directory is, converted models.
#include <gmock/gmock.h>

#include "core/json.h"
#include "pipeline/convert.h"
#include "pipeline/families.h"
#include "pipeline/prompt_format.h"
#include "tests/pipeline/packed_testing.h"

namespace reelm::pipeline {
namespace {

using ::testing::HasSubstr;

constexpr const char* kNames[] = {"chatglm_heads4_bf16", "chatglm_images_f32"};
constexpr const char* kRemake = "\nmake the goldens again: python tools/make_chatglm_goldens.py";

class ChatGlmTest : public PackedTest {
 protected:
  Model open(Dtype dtype = Dtype::kF32) const {
    return open_model(model_, {.dtypes = {dtype, Dtype::kAuto}, .packed_cache = kNoCache});
  }
  const Json goldens_ = read_json_file(test::goldens_dir() / "chatglm/chats.json");
};

TEST_F(ChatGlmTest, ConversationsToldAtOnceAreThePublishedIds) {
  ASSERT_EQ(goldens_.size(), std::size(kNames));
  for (const char* name : kNames) {
    make_model(name);
    const Model model = open();
    std::vector<Message> messages;
    ASSERT_GE(goldens_[name]["turns"].size(), 3u);
    for (const Json& golden : goldens_[name]["turns"]) {
      messages.push_back(Message::text("user", golden["question"]));
      EXPECT_EQ(Json(model.prompt_format->prompt(model, messages, {}, {})), golden["prompt_ids"])
          << name << golden.dump() << kRemake;
      messages.push_back(Message::text("assistant", golden["answer"]));
    }
  }
}

TEST_F(ChatGlmTest, SessionsAnswerAsThePublishedCode) {
  for (const char* name : kNames) {
    SCOPED_TRACE(name);
    make_model(name);
    Engine engine(open(), {});
    Session session(engine);
    for (const Json& golden : goldens_[name]["turns"]) {
      Request request = Request::question({}, golden["question"].get<std::string>());
      request.generation.max_new_tokens = 5;
      request.generation.temperature = 0.0;
      const Answer answer = session.ask(request);
      EXPECT_EQ(answer.prompt_tokens, std::ssize(golden["prompt_ids"])) << kRemake;
      EXPECT_EQ(Json(answer.token_ids), golden["answer_ids"]) << kRemake;
      EXPECT_EQ(answer.text, golden["answer"]);
    }
  }
}

TEST_F(ChatGlmTest, ConvertedModelsAreTheSame) {
  for (const char* name : kNames) {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
      SCOPED_TRACE(std::string(name) + " " + dtype_name(dtype));
      make_model(name);
      const auto expected = logits_of(open(dtype));
      fs::remove_all(dir_ / "out");
      (void)convert_model(model_, dir_ / "out", {.dtypes = {dtype, Dtype::kAuto}});
      EXPECT_EQ(logits_of(open_model(dir_ / "out")), expected);
    }
  }
}

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
