// ChatML: the tokens it needs, and its place behind PromptFormat.
#include "core/throw.h"
#include "pipeline/prompt_format.h"

namespace reelm::pipeline {

namespace {

/// The config's ids are the ones the decoder goes by; the tokenizer's must be the same.
void check_placeholder(const Model& model, llm::TokenId id, const char* key, const char* content) {
  const llm::TokenId found = required_token(model, content);
  if (id >= 0 && id != found) {
    throw_error(ErrorCode::kFormat, "{}: {} is {} in config.json, but '{}' is {} in the tokenizer",
                model.directory.string(), key, id, content, found);
  }
  if (id < 0) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is missing", model.files.where("config.json"), key);
  }
}

class ChatMl final : public PromptFormat {
 public:
  void prepare(Model& model) const override {
    PromptTokens& t = model.tokens;
    t.im_start = required_token(model, "<|im_start|>");
    t.im_end = required_token(model, "<|im_end|>");
    if (model.generation.chat_format == "chatml") {
      // get_stop_words_ids of qwen_generation_utils.py.
      model.generation.eos_token_id.insert(model.generation.eos_token_id.end(),
                                           {t.im_end, t.im_start});
    }
    if (model.vision == nullptr) return;
    t.vision_start = required_token(model, "<|vision_start|>");
    t.vision_end = required_token(model, "<|vision_end|>");
    check_placeholder(model, t.placeholders.image, "image_token_id", "<|image_pad|>");
    check_placeholder(model, t.placeholders.video, "video_token_id", "<|video_pad|>");
  }

  std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                   std::span<const MediaTokens> media,
                                   const TurnPlace& place) const override {
    return chat_prompt(*model.tokenizer, model.tokens, messages, media, place.default_system);
  }

  std::vector<llm::TokenId> closing(const Model& model) const override {
    std::vector<llm::TokenId> out = {model.tokens.im_end};
    const std::vector<llm::TokenId> newline = model.tokenizer->encode("\n");
    out.insert(out.end(), newline.begin(), newline.end());
    return out;
  }
};

}  // namespace

const PromptFormat& chatml_format() {
  static const ChatMl format;
  return format;
}

llm::TokenId required_token(const Model& model, std::string_view content) {
  const auto id = model.tokenizer->special_id(content);
  if (!id) {
    throw_error(ErrorCode::kFormat, "{}: the tokenizer has no special token '{}'",
                model.directory.string(), content);
  }
  return *id;
}

std::string text_of(const Message& message) {
  std::string out;
  for (const Content& content : message.content) {
    const auto* text = std::get_if<std::string>(&content);
    REELM_CHECK(text != nullptr);  // Model::check_takes_media has refused the medium
    out += *text;
  }
  return out;
}

}  // namespace reelm::pipeline
