// The vocabulary and merges of tokenizer files taken as they are parsed. Not installed.
//
// As values of a JSON document the 300,000 entries of Qwen2's tokenizer.json take 0.4 s to make and
// to give back; taken as they come, a sixth of that.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/json.h"
#include "llm/tokenizer_bpe.h"

namespace reelm::llm {

struct TokenizerJson {
  std::vector<std::pair<std::string, TokenId>> vocab;       ///< in the order of the file
  std::vector<std::pair<std::string, std::string>> merges;  ///< by rank
  Json rest;  ///< the document, with nothing in the place of these two
};

/// Where they are in the document: the keys from its root with '/' between ("" is the root).
struct TokenizerJsonPlaces {
  std::string_view vocab;
  std::optional<std::string_view> merges;
};
inline constexpr TokenizerJsonPlaces kTokenizerJsonPlaces = {"model/vocab", "model/merges"};
inline constexpr TokenizerJsonPlaces kVocabJsonPlaces = {"", std::nullopt};

/// Only what is as plain as tokenizers write it: ids from 0 to kMaxTokenId; "a b" or ["a", "b"];
/// no key twice in an object. Nothing of anything else, valid JSON or not, and of what is over a
/// limit: parse the whole document then, which can say what is wrong with it.
std::optional<TokenizerJson> take_tokenizer_json(std::string_view text, TokenizerJsonPlaces places,
                                                 const Limits& limits);

/// "a b" -> {a, b}; nothing if a side is empty or holds a space.
std::optional<std::pair<std::string, std::string>> split_merge(std::string_view line);

}  // namespace reelm::llm
