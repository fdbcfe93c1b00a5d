// The prompts of the three ChatGLMs.
#include "core/throw.h"
#include "pipeline/prompt_format.h"

namespace reelm::pipeline {

namespace {

void append(std::vector<llm::TokenId>& to, const std::vector<llm::TokenId>& from) {
  to.insert(to.end(), from.begin(), from.end());
}

/// What conversations begin with.
std::vector<llm::TokenId> prefix_tokens(const Model& model, bool first_turn) {
  if (!first_turn) return {};
  return {required_token(model, "[gMASK]"), required_token(model, "sop")};
}

void check_any(std::span<const Message> messages) {
  if (messages.empty()) throw Error(ErrorCode::kInvalidArgument, "there is no message to answer");
}

/// An answer ends at </s>, whatever the settings say beside it.
void add_end(Model& model, std::string_view content) {
  model.generation.eos_token_id.push_back(required_token(model, content));
}

/// Questions and answers in turn, the last a question. A round is "[Round n]", 问：, the question,
/// 答：and its answer, with `line_end` behind each but the last; `number` is that of the first.
std::string rounds(std::span<const Message> messages, std::int64_t number,
                   std::string_view line_end) {
  check_any(messages);
  std::string out;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const char* expected = i % 2 == 0 ? "user" : "assistant";
    if (messages[i].role != expected) {
      throw_error(ErrorCode::kInvalidArgument,
                  "message {} is of the role '{}', expected '{}': this model's prompts are "
                  "questions and answers in turn",
                  i + 1, messages[i].role, expected);
    }
    const std::string text = text_of(messages[i]);
    out += i % 2 == 0 ? fmt::format("[Round {}]{}问：{}{}答：", number++, line_end, text, line_end)
                      : fmt::format("{}{}", text, line_end);
  }
  if (messages.size() % 2 == 0) {
    throw Error(ErrorCode::kInvalidArgument,
                "the last message is of the role 'assistant', expected 'user'");
  }
  return out;
}

class ChatGlm final : public PromptFormat {
 public:
  void prepare(Model& model) const override {
    for (const char* token : {"[gMASK]", "<sop>"}) (void)required_token(model, token);
    add_end(model, "<eop>");
  }

  std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                   std::span<const MediaTokens> /*media*/,
                                   const TurnPlace& /*place*/) const override {
    std::string text = rounds(messages, 0, "\n");
    if (messages.size() == 1) text = text_of(messages.front());
    std::vector<llm::TokenId> out = model.tokenizer->encode(text);
    append(out, {required_token(model, "[gMASK]"), required_token(model, "<sop>")});
    return out;
  }

  bool rewrites_history() const override { return true; }
  bool trims_answers() const override { return true; }
};

class ChatGlm2 final : public PromptFormat {
 public:
  void prepare(Model& model) const override {
    (void)prefix_tokens(model, true);
    add_end(model, "</s>");
  }

  std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                   std::span<const MediaTokens> /*media*/,
                                   const TurnPlace& place) const override {
    std::vector<llm::TokenId> out = prefix_tokens(model, place.first_turn);
    const std::string text = rounds(messages, place.rounds + 1, "\n\n");
    if (place.first_turn) {
      append(out, model.tokenizer->encode(text));
      return out;
    }
    // The text goes on behind an answer: the space that SentencePiece puts first is left out.
    out = model.tokenizer->encode("\n\n" + text);
    if (!out.empty() && model.tokenizer->token_bytes(out[0]) == " ") out.erase(out.begin());
    return out;
  }

  bool trims_answers() const override { return true; }
};

class ChatGlm3 final : public PromptFormat {
 public:
  void prepare(Model& model) const override {
    (void)prefix_tokens(model, true);
    for (const char* role : {"<|system|>", "<|assistant|>"}) (void)required_token(model, role);
    for (const char* end : {"</s>", "<|user|>", "<|observation|>"}) add_end(model, end);
  }

  std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                   std::span<const MediaTokens> /*media*/,
                                   const TurnPlace& place) const override {
    check_any(messages);
    std::vector<llm::TokenId> out = prefix_tokens(model, place.first_turn);
    for (const Message& message : messages) {
      if (message.role != "system" && message.role != "user" && message.role != "assistant") {
        throw_error(ErrorCode::kInvalidArgument,
                    "message role is '{}', expected system, user or assistant", message.role);
      }
      out.push_back(required_token(model, "<|" + message.role + "|>"));
      append(out, model.tokenizer->encode("\n"));
      append(out, model.tokenizer->encode(text_of(message)));
    }
    out.push_back(required_token(model, "<|assistant|>"));
    return out;
  }

  bool trims_answers() const override { return true; }
};

}  // namespace

const PromptFormat& chatglm_format() {
  static const ChatGlm format;
  return format;
}

const PromptFormat& chatglm2_format() {
  static const ChatGlm2 format;
  return format;
}

const PromptFormat& chatglm3_format() {
  static const ChatGlm3 format;
  return format;
}

}  // namespace reelm::pipeline
