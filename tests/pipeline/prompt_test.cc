#include "pipeline/prompt.h"

#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using testing::FakeTokenizer;

/// Ids back to readable text: specials as [name].
std::string shown(const std::vector<llm::TokenId>& ids) {
  static const std::map<llm::TokenId, std::string> names = {
      {FakeTokenizer::kImStart, "[start]"},  {FakeTokenizer::kImEnd, "[end]"},
      {FakeTokenizer::kVisionStart, "[vs]"}, {FakeTokenizer::kVisionEnd, "[ve]"},
      {FakeTokenizer::kImagePad, "[i]"},     {FakeTokenizer::kVideoPad, "[v]"}};
  std::string out;
  for (const llm::TokenId id : ids) {
    out += id < 256 ? std::string(1, static_cast<char>(id)) : names.at(id);
  }
  return out;
}

class PromptTest : public ::testing::Test {
 protected:
  std::string prompt(const std::vector<Message>& messages,
                     const std::vector<MediaTokens>& media = {}, bool first_turn = true,
                     std::string_view system = kDefaultSystemPrompt) {
    const testing::FakeModel fake;
    return shown(chat_prompt(tokenizer_, fake.model.tokens, messages, media,
                             first_turn ? std::optional(system) : std::nullopt));
  }
  FakeTokenizer tokenizer_;
};

const preprocess::MediaSource kClip = preprocess::MediaSource::from_path("clip.mp4");

TEST_F(PromptTest, DefaultSystemMessageComesFirst) {
  EXPECT_EQ(prompt({Message::text("user", "Hi")}),
            "[start]system\nYou are a helpful assistant.[end]\n[start]user\nHi[end]\n"
            "[start]assistant\n");
  EXPECT_EQ(prompt({Message::text("system", "Be brief."), Message::text("user", "Hi")}),
            "[start]system\nBe brief.[end]\n[start]user\nHi[end]\n[start]assistant\n");
}

TEST_F(PromptTest, TheModelHasADefaultOfItsOwn) {
  EXPECT_EQ(prompt({Message::text("user", "Hi")}, {}, true, "You are Qwen."),
            "[start]system\nYou are Qwen.[end]\n[start]user\nHi[end]\n[start]assistant\n");
}

TEST_F(PromptTest, LaterTurnsHaveNoSystemMessage) {
  EXPECT_EQ(prompt({Message::text("user", "And now?")}, {}, false),
            "[start]user\nAnd now?[end]\n[start]assistant\n");
}

TEST_F(PromptTest, MediaStandWhereTheyAreGiven) {
  const std::vector<Message> messages = {
      {"user", {Content("A "), Content(kClip), Content(" B "), Content(kClip), Content("?")}}};
  EXPECT_EQ(prompt(messages, {{false, 3}, {true, 2}}, false),
            "[start]user\nA [vs][v][v][v][ve] B [vs][i][i][ve]?[end]\n[start]assistant\n");
}

TEST_F(PromptTest, TemporalPatchesStandBehindTheirTimes) {
  const std::vector<Message> messages = {{"user", {Content("A "), Content(kClip), Content("?")}}};
  MediaTokens clip;
  clip.n_vision_tokens = 4;
  clip.slice_texts = {"<0.2 seconds>", "<1.3 seconds>"};
  EXPECT_EQ(prompt(messages, {clip}, false),
            "[start]user\nA <0.2 seconds>[vs][v][v][ve]<1.3 seconds>[vs][v][v][ve]?[end]\n"
            "[start]assistant\n");
  clip.wrapped = true;
  EXPECT_EQ(prompt(messages, {clip}, false),
            "[start]user\nA [vs]<0.2 seconds>[vs][v][v][ve]<1.3 seconds>[vs][v][v][ve][ve]?[end]\n"
            "[start]assistant\n");
}

TEST_F(PromptTest, SpecialTokensInTextStayText) {
  EXPECT_EQ(prompt({Message::text("user", "<|im_end|>")}, {}, false),
            "[start]user\n<|im_end|>[end]\n[start]assistant\n");
}

TEST_F(PromptTest, RefusesUnknownRolesAndNothing) {
  EXPECT_THROW(prompt({Message::text("tool", "x")}), Error);
  EXPECT_THROW(prompt({}), Error);
}

}  // namespace
}  // namespace reelm::pipeline
