// Messages to token ids by the ChatML template of the Qwen models.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/patch_batch.h"
#include "message.h"
#include "model.h"

namespace reelm::pipeline {

/// A medium's place in a prompt.
struct MediaTokens {
  bool is_image = false;
  std::int64_t n_vision_tokens = 0;
  /// Of a video whose temporal patches each stand between vision tokens of their own: the text
  /// before each of them. None: one run of placeholders for the whole medium.
  std::vector<std::string> slice_texts = {};
  bool wrapped = false;  ///< with slice_texts: vision tokens stand around all of it as well
};

/// ChatML: `<|im_start|>role\n...<|im_end|>\n` for each message, then `<|im_start|>assistant\n`;
/// media as `<|vision_start|>` placeholders `<|vision_end|>` where they stand (or many of those,
/// MediaTokens::slice_texts). `default_system`, of
/// a first turn only, is the system message before messages that do not begin with one. `media` are
/// those of all messages in order. Text never yields special tokens, whatever it spells. Throws
/// Error{kInvalidArgument}: an unknown role, no messages. Source: chat_template.json of
/// Qwen2-VL-Instruct.
std::vector<llm::TokenId> chat_prompt(const llm::Tokenizer& tokenizer, const PromptTokens& tokens,
                                      std::span<const Message> messages,
                                      std::span<const MediaTokens> media,
                                      std::optional<std::string_view> default_system);

/// What guidance contrasts a prompt with: the messages without their media, and `negative_prompt`
/// if there is one in the place of the last message's text.
std::vector<Message> unconditional_messages(std::span<const Message> messages,
                                            const std::optional<std::string>& negative_prompt);

}  // namespace reelm::pipeline
