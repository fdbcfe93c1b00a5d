// How a family writes a conversation as token ids. Not installed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pipeline/message.h"
#include "pipeline/model.h"
#include "pipeline/prompt.h"

namespace reelm::pipeline {

/// Where in its conversation a turn stands.
struct TurnPlace {
  /// Of a first turn only: the system message before messages that do not begin with one.
  std::optional<std::string_view> default_system;
  bool first_turn = true;
  std::int64_t rounds = 0;  ///< questions that were asked before
};

/// A family's choice (Model::prompt_format): what surrounds the messages, and what ends an answer.
/// Stateless; there is one of each kind. Text never yields special tokens, whatever it spells.
class PromptFormat {
 public:
  virtual ~PromptFormat() = default;

  /// Looks up, in the tokenizer of an opened model, the tokens that the format needs, and adds to
  /// generation.eos_token_id those that end an answer. Throws Error{kFormat} naming one that is
  /// missing.
  virtual void prepare(Model& model) const = 0;

  /// Ids of a turn's messages, up to where the answer begins. `media` are those of all messages in
  /// order. Throws Error{kInvalidArgument}: no messages, a role or an order of roles that the
  /// format has no words for.
  virtual std::vector<llm::TokenId> prompt(const Model& model, std::span<const Message> messages,
                                           std::span<const MediaTokens> media,
                                           const TurnPlace& place) const = 0;

  /// What stands between an answer, without the token that ended it, and the next turn's prompt.
  virtual std::vector<llm::TokenId> closing(const Model& /*model*/) const { return {}; }

  /// Whether a turn's prompt is written anew from all messages so far, so that nothing in the cache
  /// is of use to it: `messages` then begin with the first turn's, and each turn is a first one.
  /// For families that take text only.
  virtual bool rewrites_history() const { return false; }

  /// Whether white space around an answer is left out of its text.
  virtual bool trims_answers() const { return false; }
};

/// ChatML, of the Qwen models (chat_prompt).
const PromptFormat& chatml_format();

/// The first ChatGLM: a first question as it is; later `[Round 0]\n问：...\n答：...\n` of each
/// round and `[Round 1]\n问：...\n答：`, written anew for each turn; then `[gMASK] <sop>`. No
/// system messages. Source: modeling_chatglm.py of THUDM/chatglm-6b, chat; tokenization_chatglm.py,
/// build_inputs_with_special_tokens.
const PromptFormat& chatglm_format();

/// ChatGLM2: `[gMASK] sop`, then `[Round 1]\n\n问：...\n\n答：` as one text; a later turn begins
/// `\n\n[Round 2]`. No system messages. Source: tokenization_chatglm.py of THUDM/chatglm2-6b,
/// build_prompt and get_prefix_tokens; modeling_chatglm.py, build_stream_inputs.
const PromptFormat& chatglm2_format();

/// ChatGLM3: `[gMASK] sop`, each message as `<|role|>`, "\n" and its text, the latter two encoded
/// apart, then `<|assistant|>`, behind which the model itself writes the "\n". `<|user|>` and
/// `<|observation|>` end an answer too. Source: tokenization_chatglm.py of THUDM/chatglm3-6b,
/// build_chat_input; modeling_chatglm.py, chat.
const PromptFormat& chatglm3_format();

/// The id of a special token. Throws Error{kFormat} naming the model and the token.
llm::TokenId required_token(const Model& model, std::string_view content);

/// The text of a message without media, in one piece.
std::string text_of(const Message& message);

}  // namespace reelm::pipeline
