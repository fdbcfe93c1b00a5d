// What must hold of any tokenizer that was loaded.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "llm/tokenizer.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {

/// Ids that stand for what StreamDecoder makes of them one by one: the text of all at once.
inline void check_decoding(const llm::Tokenizer& tokenizer, const std::vector<llm::TokenId>& ids) {
  for (const bool skip : {false, true}) {
    llm::StreamDecoder stream(tokenizer, skip);
    std::string streamed;
    for (const llm::TokenId id : ids) streamed += stream.push(id);
    streamed += stream.finish();
    REELM_CHECK(streamed == tokenizer.decode(ids, skip));
  }
}

/// Ordinary text gives ids of the vocabulary, none of them special, and they can be decoded.
inline std::vector<llm::TokenId> check_encoding(const llm::Tokenizer& tokenizer,
                                                std::string_view text) {
  const std::vector<llm::TokenId> ids = tokenizer.encode(text);
  for (const llm::TokenId id : ids) {
    REELM_CHECK(tokenizer.has_token(id));
    tokenizer.token_bytes(id);
  }
  check_decoding(tokenizer, ids);
  check_decoding(tokenizer, tokenizer.encode_with_specials(text));
  return ids;
}

/// Texts that take the ways through a tokenizer: words, spaces, marks, broken UTF-8, specials.
inline constexpr std::string_view kTexts[] = {
    "",
    "hello  world\n\n 12345 it's <|im_end|><|end|><s></s>",
    "\xc3\xa9 e\xcc\x81 \xe4\xb8\xad\xe6\x96\x87 \xf0\x9f\x98\x80 \xff\xc0\x80\xe2\x82",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa        \t\t\r\n",
};

}  // namespace reelm::fuzz
