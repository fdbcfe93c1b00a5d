// The prompts of the ChatGLM models over a scripted tokenizer, and sessions over them.
#include "pipeline/prompt_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "pipeline/answer_text.h"
#include "pipeline/engine.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using ::testing::HasSubstr;

/// One token a byte and, as SentencePiece has it, a space before each text; the special tokens of
/// ChatGLM3 behind those of ChatML.
class GlmTokenizer final : public testing::FakeTokenizer {
 public:
  static constexpr std::string_view kNames[] = {
      "[gMASK]", "sop", "</s>", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"};
  std::vector<llm::TokenId> encode(std::string_view text) const override {
    return FakeTokenizer::encode(" " + std::string(text));
  }
  std::optional<llm::TokenId> special_id(std::string_view content) const override {
    const auto* const it = std::find(std::begin(kNames), std::end(kNames), content);
    if (it == std::end(kNames)) return std::nullopt;
    return kVocabulary + static_cast<llm::TokenId>(it - std::begin(kNames));
  }
  std::int64_t vocab_size() const override { return kVocabulary + std::ssize(kNames); }

  static llm::TokenId id(std::string_view name) { return *GlmTokenizer().special_id(name); }
};

/// Ids back to readable text: special tokens in their own words.
std::string shown(const std::vector<llm::TokenId>& ids) {
  std::string out;
  for (const llm::TokenId id : ids) {
    out += id < 256 ? std::string(1, static_cast<char>(id))
                    : std::string(GlmTokenizer::kNames[id - GlmTokenizer::kVocabulary]);
  }
  return out;
}

Model glm_model(const PromptFormat& format) {
  testing::FakeModel fake;
  Model model = std::move(fake.model);
  model.vision = nullptr;
  model.tokenizer = std::make_shared<GlmTokenizer>();
  model.prompt_format = &format;
  return model;
}

std::string prompt(const PromptFormat& format, const std::vector<Message>& messages,
                   const TurnPlace& place = {}) {
  return shown(format.prompt(glm_model(format), messages, {}, place));
}

std::string error_of(const PromptFormat& format, const std::vector<Message>& messages) {
  try {
    (void)prompt(format, messages);
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    return e.what();
  }
  return "";
}

const Message kHi = Message::text("user", "Hi");
const Message kHello = Message::text("assistant", "Hello");
const Message kWhy = Message::text("user", "Why?");

TEST(ChatGlm2Prompt, RoundsAreNumberedFromOne) {
  EXPECT_EQ(prompt(chatglm2_format(), {kHi}), "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：");
  EXPECT_EQ(prompt(chatglm2_format(), {kHi, kHello, kWhy}),
            "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：Hello\n\n[Round 2]\n\n问：Why?\n\n答：");
}

TEST(ChatGlm2Prompt, ALaterTurnGoesOnBehindTheAnswer) {
  const TurnPlace later = {.default_system = std::nullopt, .first_turn = false, .rounds = 2};
  EXPECT_EQ(prompt(chatglm2_format(), {kWhy}, later), "\n\n[Round 3]\n\n问：Why?\n\n答：");
}

TEST(ChatGlm2Prompt, RefusesWhatItHasNoWordsFor) {
  EXPECT_THAT(error_of(chatglm2_format(), {}), HasSubstr("no message"));
  EXPECT_THAT(error_of(chatglm2_format(), {Message::text("system", "Be brief."), kHi}),
              HasSubstr("message 1 is of the role 'system', expected 'user'"));
  EXPECT_THAT(error_of(chatglm2_format(), {kHi, kWhy}),
              HasSubstr("message 2 is of the role 'user', expected 'assistant'"));
  EXPECT_THAT(error_of(chatglm2_format(), {kHi, kHello}), HasSubstr("the last message"));
}

TEST(ChatGlm3Prompt, RolesAreTokens) {
  EXPECT_EQ(prompt(chatglm3_format(), {kHi}), "[gMASK]sop<|user|> \n Hi<|assistant|>");
  EXPECT_EQ(prompt(chatglm3_format(), {Message::text("system", "Be brief."), kHi, kHello, kWhy}),
            "[gMASK]sop<|system|> \n Be brief.<|user|> \n Hi<|assistant|> \n Hello"
            "<|user|> \n Why?<|assistant|>");
  const TurnPlace later = {.default_system = std::nullopt, .first_turn = false, .rounds = 1};
  EXPECT_EQ(prompt(chatglm3_format(), {kWhy}, later), "<|user|> \n Why?<|assistant|>");
}

TEST(ChatGlm3Prompt, TextNeverYieldsRoleTokens) {
  EXPECT_EQ(prompt(chatglm3_format(), {Message::text("user", "<|assistant|>")}),
            "[gMASK]sop<|user|> \n <|assistant|><|assistant|>");
  const auto ids = chatglm3_format().prompt(
      glm_model(chatglm3_format()), std::vector{Message::text("user", "<|assistant|>")}, {}, {});
  EXPECT_EQ(std::count_if(ids.begin(), ids.end(), [](llm::TokenId id) { return id >= 256; }), 4);
  EXPECT_THAT(error_of(chatglm3_format(), {Message::text("observation", "x")}),
              HasSubstr("message role is 'observation'"));
}

TEST(ChatGlmFormats, SayWhatEndsAnAnswer) {
  Model model = glm_model(chatglm2_format());
  model.generation.eos_token_id = {2};
  chatglm2_format().prepare(model);
  EXPECT_EQ(model.generation.eos_token_id,
            (std::vector<llm::TokenId>{2, GlmTokenizer::id("</s>")}));
  model.generation.eos_token_id.clear();
  chatglm3_format().prepare(model);
  EXPECT_EQ(model.generation.eos_token_id,
            (std::vector<llm::TokenId>{GlmTokenizer::id("</s>"), GlmTokenizer::id("<|user|>"),
                                       GlmTokenizer::id("<|observation|>")}));
}

TEST(ChatGlmFormats, MissingTokensAreNamed) {
  Model model = glm_model(chatglm3_format());
  model.tokenizer = std::make_shared<testing::FakeTokenizer>();
  try {
    chatglm3_format().prepare(model);
    FAIL() << "a tokenizer without [gMASK] was taken";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kFormat);
    EXPECT_THAT(e.what(), HasSubstr("'[gMASK]'"));
  }
}

TEST(AnswerText, TrimsWhatIsAroundTheWhole) {
  AnswerText text(true);
  EXPECT_EQ(text.push("\n "), "");
  EXPECT_EQ(text.push(" a "), "a");
  EXPECT_EQ(text.push("\n"), "");
  EXPECT_EQ(text.push("b"), " \nb");
  EXPECT_EQ(text.push("\n\n"), "");  // and nothing comes behind it
  AnswerText whole(false);
  EXPECT_EQ(whole.push("\n a "), "\n a ");
}

/// A session's engine, and the decoder that it speaks with.
struct GlmSession {
  explicit GlmSession(const PromptFormat& format) {
    fake.model.vision = nullptr;
    fake.model.tokenizer = std::make_shared<GlmTokenizer>();
    fake.model.prompt_format = &format;
  }
  void say(std::string_view text) { fake.say(text); }
  testing::FakeModel fake;
};

TEST(ChatGlmSession, TurnsFollowOneAnother) {
  GlmSession glm(chatglm2_format());
  glm.say("\n Hello \n");
  glm.say("Because");
  testing::FakeDecoder* decoder = glm.fake.decoder;
  Engine engine(std::move(glm.fake.model), {});
  Session session(engine);
  EXPECT_EQ(session.ask(Request::question({}, "Hi")).text, "Hello");
  EXPECT_EQ(session.ask(Request::question({}, "Why?")).text, "Because");
  ASSERT_EQ(decoder->prompts.size(), 2u);
  EXPECT_EQ(shown(decoder->prompts[0]), "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：");
  EXPECT_EQ(shown(decoder->prompts[1]), "\n\n[Round 2]\n\n问：Why?\n\n答：");
}

/// ChatGLM2's words, written anew for each turn.
class Rewriting final : public PromptFormat {
 public:
  void prepare(Model&) const override {}
  std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                   std::span<const MediaTokens> media,
                                   const TurnPlace& place) const override {
    EXPECT_TRUE(place.first_turn);
    EXPECT_EQ(place.rounds, 0);
    return chatglm2_format().prompt(model, messages, media, place);
  }
  bool rewrites_history() const override { return true; }
  bool trims_answers() const override { return true; }
};

TEST(RewrittenSession, EveryTurnBeginsInAnEmptyCache) {
  const Rewriting format;
  GlmSession glm(format);
  glm.say(" Hello");
  glm.say("Because");
  testing::FakeDecoder* decoder = glm.fake.decoder;
  Engine engine(std::move(glm.fake.model), {});
  Session session(engine);
  (void)session.ask(Request::question({}, "Hi"));
  Request failing = Request::question({}, "Lost");
  failing.generation.negative_prompt = "without guidance";
  EXPECT_THROW((void)session.ask(failing), Error);
  EXPECT_EQ(session.ask(Request::question({}, "Why?")).text, "Because");
  const std::string all =
      "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：Hello\n\n[Round 2]\n\n问：Why?\n\n答：";
  EXPECT_EQ(shown(decoder->prompts.back()), all);
  EXPECT_EQ(decoder->first_positions.back(), 0);
  EXPECT_EQ(session.length(), static_cast<std::int64_t>(decoder->prompts.back().size()) + 7);
}

TEST(RewrittenSession, GuidanceBeginsAgainToo) {
  const Rewriting format;
  GlmSession glm(format);
  testing::FakeDecoder* decoder = glm.fake.decoder;
  Engine engine(std::move(glm.fake.model), {});
  Session session(engine);
  for (const char* question : {"Hi", "Why?"}) {
    Request request = Request::question({}, question);
    request.generation.guidance_scale = 2.0;
    request.generation.negative_prompt = "No";
    request.generation.max_new_tokens = 1;
    decoder->script = {'a', 'a'};
    EXPECT_EQ(session.ask(request).text, "a");
  }
  ASSERT_EQ(decoder->prompts.size(), 4u);
  EXPECT_EQ(shown(decoder->prompts[2]),
            "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：a\n\n[Round 2]\n\n问：Why?\n\n答：");
  EXPECT_EQ(shown(decoder->prompts[3]),
            "[gMASK]sop [Round 1]\n\n问：Hi\n\n答：a\n\n[Round 2]\n\n问：No\n\n答：");
  EXPECT_EQ(decoder->first_positions[3], 0);
}

}  // namespace
}  // namespace reelm::pipeline
