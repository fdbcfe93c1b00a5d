// UTF-8, the character classes and the normal form that tokenisation stands on. Not installed.
//
// Ids must not depend on the ICU of the day, so classes are pinned to the Unicode version of the
// reference's regex engine (Oniguruma as built into the `tokenizers` wheels: Unicode 16) and NFC to
// that of its normaliser (the crate unicode-normalization-alignments: Unicode 9). Both were
// measured over all code points with tokenizers 0.23.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace reelm::llm {

/// What the patterns of tokenizers distinguish.
enum class CharClass : std::uint8_t {
  kLetter,      ///< \p{L}
  kNumber,      ///< \p{N}
  kNewline,     ///< \r or \n, which are white space too
  kWhitespace,  ///< \s otherwise
  kOther,
};

/// Class of a code point.
CharClass char_class(char32_t c) noexcept;

/// Whether \w of the Rust regex crate matches (added tokens with `single_word`).
bool is_word_char(char32_t c) noexcept;

/// \s: the same 25 code points in Oniguruma and in Rust's regex crate (White_Space).
bool is_whitespace(char32_t c) noexcept;

/// One character of valid UTF-8.
struct Utf8Char {
  char32_t code = 0;
  std::size_t length = 0;  // bytes
};

/// The character at text[i], i < text.size(). `text` must be valid UTF-8 (see utf8_lossy).
Utf8Char utf8_at(std::string_view text, std::size_t i) noexcept;

/// Length of the longest prefix that is valid UTF-8.
std::size_t utf8_valid_prefix(std::string_view text) noexcept;

/// Length of the tail of `text` that is a character begun and not yet broken (0 to 3 bytes): what a
/// stream must hold back.
std::size_t utf8_incomplete_tail(std::string_view text) noexcept;

/// `text` with every maximal ill-formed part replaced by U+FFFD, as Rust's String::from_utf8_lossy
/// and Python's errors="replace" do (Unicode 15, section 3.9, "U+FFFD substitution of maximal
/// subparts").
std::string utf8_lossy(std::string_view text);

/// Appends a code point as UTF-8. Not a surrogate.
void utf8_append(std::string& out, char32_t c);

/// NFC of valid UTF-8. Throws Error{kInvalidArgument} when ICU fails (text over 2 GB).
std::string normalize_nfc(std::string_view text);

}  // namespace reelm::llm
