#include "llm/tokenizer_unicode.h"

#include <gtest/gtest.h>

#include <vector>

#include "llm/tokenizer_split.h"

namespace reelm::llm {
namespace {

TEST(Utf8, LossyReplacesMaximalSubparts) {
  const auto count = [](std::string_view text) {
    std::size_t n = 0;
    const std::string out = utf8_lossy(text);
    for (std::size_t i = 0; (i = out.find("\ufffd", i)) != std::string::npos; i += 3) ++n;
    return n;
  };
  EXPECT_EQ(utf8_lossy("plain \u20ac \U0001f600"), "plain \u20ac \U0001f600");
  EXPECT_EQ(count("\xf0\x9f\x98"), 1u);          // one character cut short
  EXPECT_EQ(count("\xf0\x9f\x41"), 1u);          // the same, then a letter
  EXPECT_EQ(count("\xed\xa0\x80"), 3u);          // a surrogate: no part of it is well formed
  EXPECT_EQ(count("\xc0\xaf"), 2u);              // overlong
  EXPECT_EQ(count("\xe0\x80\x80"), 3u);          // overlong
  EXPECT_EQ(count("\xf4\x90\x80\x80"), 4u);      // over U+10FFFF
  EXPECT_EQ(count("\xf8\x88\x80\x80\x80"), 5u);  // five bytes never existed
  EXPECT_EQ(utf8_lossy("\xe2\x82\x41"), "\ufffd\x41");
}

TEST(Utf8, IncompleteTail) {
  EXPECT_EQ(utf8_incomplete_tail(""), 0u);
  EXPECT_EQ(utf8_incomplete_tail("a"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("\u20ac"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("a\xe2"), 1u);
  EXPECT_EQ(utf8_incomplete_tail("a\xe2\x82"), 2u);
  EXPECT_EQ(utf8_incomplete_tail("\xf0\x9f\x98"), 3u);
  EXPECT_EQ(utf8_incomplete_tail("\xed\xa0"), 0u);  // already broken
  EXPECT_EQ(utf8_incomplete_tail("\xc0"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("\x80\x80\x80"), 0u);
  EXPECT_EQ(utf8_incomplete_tail("\xe2\x82\xac\x80"), 0u);
}

TEST(Unicode, AppendInvertsAt) {
  for (const char32_t c :
       {U'\0', U'a', char32_t{0x7f}, char32_t{0x80}, char32_t{0x7ff}, char32_t{0x800},
        char32_t{0xffff}, char32_t{0x10000}, char32_t{0x10ffff}}) {
    std::string text;
    utf8_append(text, c);
    const Utf8Char back = utf8_at(text, 0);
    EXPECT_EQ(back.code, c);
    EXPECT_EQ(back.length, text.size());
    EXPECT_EQ(utf8_valid_prefix(text), text.size());
  }
}

// Counts over all code points, as Oniguruma of tokenizers 0.23 has them: an ICU that disagrees
// would change ids.
TEST(Unicode, ClassesAreThoseOfTheReference) {
  std::size_t letters = 0, numbers = 0, spaces = 0;
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c >= 0xd800 && c < 0xe000) continue;
    const CharClass cls = char_class(c);
    letters += cls == CharClass::kLetter;
    numbers += cls == CharClass::kNumber;
    spaces += cls == CharClass::kNewline || cls == CharClass::kWhitespace;
  }
  EXPECT_EQ(letters, 141'028u);
  EXPECT_EQ(numbers, 1'911u);
  EXPECT_EQ(spaces, 25u);
}

TEST(Unicode, NfcOfUnicode9) {
  EXPECT_EQ(normalize_nfc("plain"), "plain");
  EXPECT_EQ(normalize_nfc("e\u0301"), "\u00e9");
  EXPECT_EQ(normalize_nfc("q\u0307\u0323"), "q\u0323\u0307");
  EXPECT_EQ(normalize_nfc("\u212b\u2126"), "\u00c5\u03a9");
  EXPECT_EQ(normalize_nfc("\u0958"), "\u0915\u093c");  // excluded from composition
  // U+1DF6 came with Unicode 10: the reference does not move it.
  EXPECT_EQ(normalize_nfc("a\u1df6\u0323"), "a\u1df6\u0323");
}

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  for (std::size_t i = 0; i < text.size();) {
    const std::size_t end = next_word(text, i);
    EXPECT_GT(end, i);
    if (end <= i) break;
    out.emplace_back(text.substr(i, end - i));
    i = end;
  }
  return out;
}

using Words = std::vector<std::string>;

TEST(Split, WordsAndSpaces) {
  EXPECT_EQ(words("Hello  world"), Words({"Hello", " ", " world"}));
  EXPECT_EQ(words("a\tb"), Words({"a", "\tb"}));
  EXPECT_EQ(words("a\nb"), Words({"a", "\n", "b"}));
  EXPECT_EQ(words("a \n \n  b"), Words({"a", " \n \n", " ", " b"}));
  EXPECT_EQ(words("a   "), Words({"a", "   "}));
  EXPECT_EQ(words("  1"), Words({" ", " ", "1"}));
  EXPECT_EQ(words("12"), Words({"1", "2"}));
  EXPECT_EQ(words(" !?\r\n\nx"), Words({" !?\r\n\n", "x"}));
  EXPECT_EQ(words("(a)b"), Words({"(a", ")b"}));
  EXPECT_EQ(words("\u00a0a\u3000!"), Words({"\u00a0a", "\u3000", "!"}));
}

TEST(Split, Contractions) {
  EXPECT_EQ(words("I'm we'LL"), Words({"I", "'m", " we", "'LL"}));
  EXPECT_EQ(words("x'\u017f"), Words({"x", "'\u017f"}));
  EXPECT_EQ(words("'sand"), Words({"'s", "and"}));
  EXPECT_EQ(words("'rx 'k"), Words({"'rx", " '", "k"}));
  EXPECT_EQ(words("'"), Words({"'"}));
  EXPECT_EQ(words("'l"), Words({"'l"}));
}

}  // namespace
}  // namespace reelm::llm
