#include "pipeline/prompt.h"

#include "core/throw.h"

namespace reelm::pipeline {

namespace {

/// Collects text between special tokens, so that it is encoded in one piece as the reference does:
/// "user\n" and the question after it share tokens.
class PromptBuilder {
 public:
  explicit PromptBuilder(const llm::Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  void text(std::string_view text) { pending_ += text; }

  void special(llm::TokenId id, std::int64_t count = 1) {
    flush();
    ids_.insert(ids_.end(), static_cast<std::size_t>(count), id);
  }

  std::vector<llm::TokenId> finish() {
    flush();
    return std::move(ids_);
  }

  /// What comes next shares no token with what came before.
  void flush() {
    if (pending_.empty()) return;
    const std::vector<llm::TokenId> ids = tokenizer_.encode(pending_);
    ids_.insert(ids_.end(), ids.begin(), ids.end());
    pending_.clear();
  }

 private:
  const llm::Tokenizer& tokenizer_;
  std::string pending_;
  std::vector<llm::TokenId> ids_;
};

void add_medium(const PromptTokens& tokens, const MediaTokens& medium, PromptBuilder& out) {
  const auto run = [&](std::int64_t placeholders) {
    out.special(tokens.vision_start);
    out.special(medium.is_image ? tokens.placeholders.image : tokens.placeholders.video,
                placeholders);
    out.special(tokens.vision_end);
  };
  if (medium.slice_texts.empty()) return run(medium.n_vision_tokens);
  if (medium.wrapped) out.special(tokens.vision_start);
  for (const std::string& text : medium.slice_texts) {
    out.text(text);
    run(medium.n_vision_tokens / std::ssize(medium.slice_texts));
  }
  if (medium.wrapped) out.special(tokens.vision_end);
}

}  // namespace

std::vector<llm::TokenId> chat_prompt(const llm::Tokenizer& tokenizer, const PromptTokens& tokens,
                                      std::span<const Message> messages,
                                      std::span<const MediaTokens> media,
                                      std::optional<std::string_view> default_system) {
  if (messages.empty()) throw Error(ErrorCode::kInvalidArgument, "there is no message to answer");
  PromptBuilder out(tokenizer);
  const auto open = [&](const std::string& role) {
    out.special(tokens.im_start);
    out.text(role);
    if (tokens.header_apart) out.flush();
    out.text("\n");
    if (tokens.header_apart) out.flush();
  };
  const auto close = [&] {
    out.special(tokens.im_end);
    out.text("\n");
  };
  if (default_system && messages.front().role != "system") {
    open("system");
    out.text(*default_system);
    close();
  }
  std::size_t next_medium = 0;
  for (const Message& message : messages) {
    if (message.role != "system" && message.role != "user" && message.role != "assistant") {
      throw_error(ErrorCode::kInvalidArgument,
                  "message role is '{}', expected system, user or assistant", message.role);
    }
    open(message.role);
    for (const Content& content : message.content) {
      if (const auto* text = std::get_if<std::string>(&content)) {
        out.text(*text);
        continue;
      }
      REELM_CHECK(next_medium < media.size());
      add_medium(tokens, media[next_medium++], out);
    }
    close();
  }
  REELM_CHECK(next_medium == media.size());
  open("assistant");
  return out.finish();
}

std::vector<Message> unconditional_messages(std::span<const Message> messages,
                                            const std::optional<std::string>& negative_prompt) {
  std::vector<Message> out;
  for (const Message& message : messages) {
    Message& kept = out.emplace_back(Message{message.role, {}});
    for (const Content& content : message.content) {
      if (std::holds_alternative<std::string>(content)) kept.content.push_back(content);
    }
  }
  if (negative_prompt && !out.empty()) out.back().content = {*negative_prompt};
  return out;
}

}  // namespace reelm::pipeline
