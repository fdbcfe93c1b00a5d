#include "llm/tokenizer_split.h"

#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

/// A character with its class and place; at the end of the text `length` is 0.
struct Classified {
  char32_t code = 0;
  std::size_t length = 0;
  CharClass cls = CharClass::kOther;
};

Classified at(std::string_view text, std::size_t i) noexcept {
  if (i >= text.size()) return {};
  const Utf8Char c = utf8_at(text, i);
  return {c.code, c.length, char_class(c.code)};
}

bool is_space(CharClass cls) noexcept {
  return cls == CharClass::kNewline || cls == CharClass::kWhitespace;
}

/// End of the run of class `cls` at i.
std::size_t run_end(std::string_view text, std::size_t i, CharClass cls) noexcept {
  for (Classified c = at(text, i); c.length != 0 && c.cls == cls; c = at(text, i)) i += c.length;
  return i;
}

/// (?i:'s|'t|'re|'ve|'m|'ll|'d) at an apostrophe: its length, or 0. Case folding brings in the long
/// s (U+017F), as in the reference; no other letter folds to these.
std::size_t contraction_length(std::string_view text, std::size_t i) noexcept {
  const auto lower = [&](std::size_t k) -> char {
    if (k >= text.size()) return '\0';
    const char c = text[k];
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  };
  switch (lower(i + 1)) {
    case 's':
    case 't':
    case 'm':
    case 'd':
      return 2;
    case 'r':
    case 'v':
      return lower(i + 2) == 'e' ? 3 : 0;
    case 'l':
      return lower(i + 2) == 'l' ? 3 : 0;
    default:
      return text.substr(i + 1, 2) == "\xc5\xbf" ? 3 : 0;
  }
}

/// \s*[\r\n]+ | \s+(?!\S) | \s+ at white space.
std::size_t whitespace_end(std::string_view text, std::size_t begin) noexcept {
  std::size_t end = begin;
  std::size_t last = begin;         // start of the last character
  std::size_t newline_end = begin;  // end of the last \r or \n
  for (Classified c = at(text, end); c.length != 0 && is_space(c.cls); c = at(text, end)) {
    last = end;
    end += c.length;
    if (c.cls == CharClass::kNewline) newline_end = end;
  }
  if (newline_end != begin) return newline_end;
  // Before a word the last space is left to it, unless it is the only one.
  return end == text.size() || last == begin ? end : last;
}

}  // namespace

std::size_t next_word(std::string_view text, std::size_t begin) noexcept {
  const Classified first = at(text, begin);
  const std::size_t second = begin + first.length;
  if (first.code == U'\'') {
    if (const std::size_t n = contraction_length(text, begin); n != 0) return begin + n;
  }
  // [^\r\n\p{L}\p{N}]?\p{L}+
  if (first.cls == CharClass::kLetter) return run_end(text, second, CharClass::kLetter);
  const bool may_lead = first.cls == CharClass::kOther || first.cls == CharClass::kWhitespace;
  const Classified next = may_lead ? at(text, second) : Classified{};
  if (may_lead && next.length != 0 && next.cls == CharClass::kLetter) {
    return run_end(text, second, CharClass::kLetter);
  }
  if (first.cls == CharClass::kNumber) return second;
  // ' ?[^\s\p{L}\p{N}]+[\r\n]*'
  if (first.cls == CharClass::kOther ||
      (first.code == U' ' && next.length != 0 && next.cls == CharClass::kOther)) {
    return run_end(text, run_end(text, second, CharClass::kOther), CharClass::kNewline);
  }
  return whitespace_end(text, begin);
}

}  // namespace reelm::llm
