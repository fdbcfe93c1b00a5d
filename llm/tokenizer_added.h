// Added tokens: those a tokenizer finds in text before it cuts words. Not installed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "llm/tokenizer.h"

namespace reelm::llm {

/// One entry of `added_tokens`; the flags are those of the `tokenizers` library.
struct AddedToken {
  TokenId id = 0;
  std::string content;
  bool special = false;
  bool single_word = false;  ///< not beside a word character
  bool lstrip = false;       ///< takes the white space before it
  bool rstrip = false;       ///< takes the white space after it
  bool normalized = false;   ///< looked for in the normalised text
};

/// Longest content of an added token, in bytes: the search walks that far from every character.
inline constexpr std::size_t kMaxAddedTokenBytes = 1024;

/// Finds a set of added tokens in text: leftmost, then longest, without overlap
/// (`AddedVocabulary::find_matches` of the `tokenizers` library).
class AddedTokenMatcher {
 public:
  /// A stretch of the text: one token, or (id == kText) ordinary text.
  struct Piece {
    static constexpr TokenId kText = -1;
    TokenId id = kText;
    std::string_view text;
  };

  /// Looks for `spelling` (the content or its normal form), which is not empty.
  void add(const AddedToken& token, std::string_view spelling);
  bool empty() const noexcept { return tokens_.empty(); }

  /// The pieces of `text` (valid UTF-8) in order; they view it. Spellings of special tokens count
  /// as text unless `specials`.
  std::vector<Piece> split(std::string_view text, bool specials) const;

 private:
  struct Match {
    std::int32_t token = -1;
    std::size_t length = 0;
  };
  Match longest_at(std::string_view text) const;

  std::vector<AddedToken> tokens_;
  std::vector<std::int32_t> node_token_{
      -1};  // by trie node: index in tokens_ that ends there, or -1
  std::unordered_map<std::uint64_t, std::uint32_t> edges_;  // node << 8 | byte -> node
  bool first_byte_[256] = {};
};

}  // namespace reelm::llm
