// Byte-level byte-pair encoding of the Qwen2 form. Not installed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "llm/tokenizer.h"
#include "llm/tokenizer_added.h"

namespace reelm::llm {

/// Ids above this are taken for damage: the largest vocabularies in use have about 300,000 tokens,
/// and tables are sized by the largest id.
inline constexpr TokenId kMaxTokenId = (1 << 20) - 1;

/// What the files of a byte-level BPE tokenizer say, as they spell it; not yet checked for sense.
struct BpeData {
  std::string vocab_source;   ///< file (and place) the vocabulary came from, for errors
  std::string merges_source;  ///< same for the merges
  std::vector<std::pair<std::string, TokenId>> vocab;       ///< byte-level spelling, id
  std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
  /// Of a tiktoken encoding, which has them in place of `merges`: two tokens that make a third.
  struct IdMerge {
    TokenId left, right, id;  // smaller ids merge first
  };
  std::vector<IdMerge> id_merges;
  std::vector<AddedToken> added;
  bool nfc = true;             ///< normalise text first
  bool ignore_merges = false;  ///< a whole word that is a token needs no merges
};

/// The bytes that a byte-level spelling stands for ("Ġa" is " a"), or the spelling itself when it
/// has a character outside that alphabet, as the ByteLevel decoder does.
std::string bytes_of_spelling(std::string_view spelling);

/// The byte-level spelling of `bytes`.
std::string spelling_of_bytes(std::string_view bytes);

/// Pair of adjacent ids -> merge, as a flat hash table: one cache line a look-up.
class MergeTable {
 public:
  struct Merge {
    std::int32_t rank = -1;  ///< -1: the pair does not merge
    TokenId id = 0;
  };

  /// Room for `n` merges.
  explicit MergeTable(std::size_t n);
  /// Later merges of the same pair replace earlier ones, as in the reference.
  void insert(TokenId left, TokenId right, Merge merge) noexcept;
  Merge find(TokenId left, TokenId right) const noexcept;

 private:
  struct Slot {
    std::uint64_t key = kEmpty;
    Merge merge;
  };
  static constexpr std::uint64_t kEmpty = ~std::uint64_t{0};
  std::size_t slot_of(std::uint64_t key) const noexcept;

  std::vector<Slot> slots_;  // a power of two, at most half full
  int shift_ = 0;
};

/// Spelling -> id of a vocabulary, which it refers to: a flat table, because a load looks up every
/// part of every merge (450,000 times for Qwen2) and a node-based map would miss the cache thrice.
class SpellingTable {
 public:
  explicit SpellingTable(const std::vector<std::pair<std::string, TokenId>>& vocab);
  /// The id, or -1.
  TokenId find(std::string_view spelling) const noexcept;
  /// Whether no spelling is there twice.
  bool unique() const noexcept { return unique_; }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t entry = 0;  // 1 + index in vocab_; 0: free
  };
  const std::vector<std::pair<std::string, TokenId>>& vocab_;
  std::vector<Slot> slots_;  // a power of two, at most half full
  bool unique_ = true;
};

/// Checks the data and makes the tokenizer. Throws Error{kFormat} naming file and item when the
/// parts do not fit: an id twice or over kMaxTokenId, a merge of unknown tokens, a byte without a
/// token, an added token that contradicts the vocabulary.
std::unique_ptr<Tokenizer> make_bpe_tokenizer(const BpeData& data);

}  // namespace reelm::llm
