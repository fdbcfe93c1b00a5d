// Text to token ids and back.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/limits.h"
#include "../core/model_files.h"

namespace reelm::llm {

using TokenId = std::int32_t;

/// Interface over byte-level BPE and SentencePiece. Immutable once loaded; safe to share by
/// threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  /// Ids of ordinary text. Text that spells a special token ("<|im_end|>") is encoded as the plain
  /// characters it is made of, never as the special id: use special_id for those. Bytes that are
  /// not UTF-8 are taken as U+FFFD, as transformers would get them.
  virtual std::vector<TokenId> encode(std::string_view text) const = 0;

  /// Ids of `text` where special tokens that are spelled out become their ids, as transformers'
  /// `tokenizer(text)` does. For trusted text only (chat templates, goldens).
  virtual std::vector<TokenId> encode_with_specials(std::string_view text) const = 0;

  /// The id of a special token by its exact content, or nothing.
  virtual std::optional<TokenId> special_id(std::string_view content) const = 0;
  virtual bool is_special(TokenId id) const = 0;

  /// The raw bytes of one token: possibly part of a character. Specials give their content. Throws
  /// Error{kInvalidArgument} when the id is outside the vocabulary.
  virtual std::string token_bytes(TokenId id) const = 0;

  /// The text of ids, specials left out when `skip_special_tokens`; incomplete characters become
  /// U+FFFD and ids that are no token (has_token) say nothing, as in transformers' decode.
  virtual std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const = 0;

  /// One more than the largest id.
  virtual std::int64_t vocab_size() const = 0;

  /// Whether the id has a token; a vocabulary may have gaps, and a model more rows than tokens.
  virtual bool has_token(TokenId id) const { return id >= 0 && id < vocab_size(); }

  /// Whether decode leaves out a space at the very beginning of what begins with the token `first`
  /// (SentencePiece puts one there).
  virtual bool drops_first_space(TokenId /*first*/) const { return false; }
};

/// Collects the bytes of tokens and lets go of them only at the ends of characters. All that push
/// and finish return, put together, is decode() of all the ids. The tokenizer outlives it.
class StreamDecoder {
 public:
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  /// Adds a token; returns the text that has become whole, perhaps empty. Never half a character.
  std::string push(TokenId id);
  /// What is left at the end of the answer: an incomplete character becomes U+FFFD. The decoder is
  /// then as new.
  std::string finish();

 private:
  const Tokenizer* tokenizer_;
  bool skip_special_tokens_;
  bool begun_ = false;  // something has come
  std::string pending_;
};

/// Loads the tokenizer of a model: tokenizer.json, else vocab.json + merges.txt (with the
/// added tokens of tokenizer_config.json), else qwen.tiktoken (ranks of the first Qwen), else
/// ice_text.model (SentencePiece of the first ChatGLM, chatglm/tokenizer.h), else
/// tokenizer.model / *.model (SentencePiece; of ChatGLM2 and ChatGLM3 with the special tokens that
/// follow its pieces, chatglm2/version.h). Throws Error naming the file and what is wrong with
/// it: kNotFound when there is none (lists what was looked for), kFormat, kUnsupported (a model or
/// pre-tokeniser other than byte-level BPE of the Qwen2 form).
std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm
