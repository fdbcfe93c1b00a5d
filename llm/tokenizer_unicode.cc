#include "llm/tokenizer_unicode.h"

#include <unicode/bytestream.h>
#include <unicode/normalizer2.h>
#include <unicode/stringpiece.h>
#include <unicode/uchar.h>
#include <unicode/uniset.h>

#include <algorithm>
#include <climits>
#include <iterator>
#include <utility>

#include "core/throw.h"

namespace reelm::llm {

namespace {

using Range = std::pair<char32_t, char32_t>;

// Letters and numbers of Unicode 15.1 and 16, which ICU 72 (Debian 12, Unicode 15) does not know.
constexpr Range kNewLetters[] = {
    {0x1c89, 0x1c8a},   {0xa7cb, 0xa7cd},   {0xa7da, 0xa7dc},   {0x105c0, 0x105f3},
    {0x10d4a, 0x10d65}, {0x10d6f, 0x10d85}, {0x10ec2, 0x10ec4}, {0x11380, 0x11389},
    {0x1138b, 0x1138b}, {0x1138e, 0x1138e}, {0x11390, 0x113b5}, {0x113b7, 0x113b7},
    {0x113d1, 0x113d1}, {0x113d3, 0x113d3}, {0x11bc0, 0x11be0}, {0x13460, 0x143fa},
    {0x16100, 0x1611d}, {0x16d40, 0x16d6c}, {0x18cff, 0x18cff}, {0x1e5d0, 0x1e5ed},
    {0x1e5f0, 0x1e5f0}, {0x2ebf0, 0x2ee5d},
};
constexpr Range kNewNumbers[] = {
    {0x10d40, 0x10d49}, {0x116d0, 0x116e3}, {0x11bf0, 0x11bf9}, {0x16130, 0x16139},
    {0x16d70, 0x16d79}, {0x1ccf0, 0x1ccf9}, {0x1e5f1, 0x1e5fa},
};

template <std::size_t N>
bool in_ranges(const Range (&ranges)[N], char32_t c) noexcept {
  const auto* it = std::upper_bound(std::begin(ranges), std::end(ranges), c,
                                    [](char32_t v, const Range& r) { return v < r.first; });
  return it != std::begin(ranges) && c <= std::prev(it)->second;
}

/// Assigned in Unicode 16 or before: a newer ICU must not change ids.
bool known_to_reference(char32_t c) noexcept {
  UVersionInfo age;
  u_charAge(static_cast<UChar32>(c), age);
  return age[0] <= 16;
}

CharClass slow_class(char32_t c) noexcept {
  switch (u_charType(static_cast<UChar32>(c))) {
    case U_UPPERCASE_LETTER:
    case U_LOWERCASE_LETTER:
    case U_TITLECASE_LETTER:
    case U_MODIFIER_LETTER:
    case U_OTHER_LETTER:
      return known_to_reference(c) ? CharClass::kLetter : CharClass::kOther;
    case U_DECIMAL_DIGIT_NUMBER:
    case U_LETTER_NUMBER:
    case U_OTHER_NUMBER:
      return known_to_reference(c) ? CharClass::kNumber : CharClass::kOther;
    case U_UNASSIGNED:
      if (in_ranges(kNewLetters, c)) return CharClass::kLetter;
      if (in_ranges(kNewNumbers, c)) return CharClass::kNumber;
      return CharClass::kOther;
    default:
      return CharClass::kOther;
  }
}

/// NFC of Unicode 9: newer characters pass through and nothing composes or moves across them.
const icu::Normalizer2& nfc_of_reference() {
  static const icu::FilteredNormalizer2* const normalizer = [] {
    UErrorCode status = U_ZERO_ERROR;
    const icu::Normalizer2* nfc = icu::Normalizer2::getNFCInstance(status);
    auto* set = new icu::UnicodeSet(UNICODE_STRING_SIMPLE("[:age=9.0:]"), status);
    if (U_FAILURE(status)) {
      delete set;
      throw_error(ErrorCode::kUnsupported, "ICU has no data for NFC: {}", u_errorName(status));
    }
    set->freeze();
    // Both live as long as the program: the normaliser refers to the set.
    return new icu::FilteredNormalizer2(*nfc, *set);
  }();
  return *normalizer;
}

/// Bytes of the longest well-formed or ill-formed-maximal start of `text`; `valid` says which.
/// `truncated` is set when the text ended inside a character.
struct Scan {
  std::size_t length;
  bool valid;
  bool truncated;
};

Scan scan_char(std::string_view text) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char b0 = byte(0);
  if (b0 < 0x80) return {1, true, false};
  std::size_t n = 0;
  unsigned char low = 0x80;  // bounds of the second byte
  unsigned char high = 0xbf;
  if (b0 >= 0xc2 && b0 <= 0xdf) {
    n = 2;
  } else if (b0 >= 0xe0 && b0 <= 0xef) {
    n = 3;
    if (b0 == 0xe0) low = 0xa0;
    if (b0 == 0xed) high = 0x9f;  // no surrogates
  } else if (b0 >= 0xf0 && b0 <= 0xf4) {
    n = 4;
    if (b0 == 0xf0) low = 0x90;
    if (b0 == 0xf4) high = 0x8f;
  } else {
    return {1, false, false};
  }
  for (std::size_t i = 1; i < n; ++i) {
    if (i == text.size()) return {i, false, true};
    if (byte(i) < low || byte(i) > high) return {i, false, false};
    low = 0x80;
    high = 0xbf;
  }
  return {n, true, false};
}

}  // namespace

CharClass char_class(char32_t c) noexcept {
  if (c < 0x80) {
    if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return CharClass::kLetter;
    if (c >= '0' && c <= '9') return CharClass::kNumber;
    if (c == '\r' || c == '\n') return CharClass::kNewline;
    return is_whitespace(c) ? CharClass::kWhitespace : CharClass::kOther;
  }
  return is_whitespace(c) ? CharClass::kWhitespace : slow_class(c);
}

bool is_whitespace(char32_t c) noexcept {
  if (c <= 0x20) return c == ' ' || (c >= 0x09 && c <= 0x0d);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 ||
         c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

bool is_word_char(char32_t c) noexcept {
  const UChar32 u = static_cast<UChar32>(c);
  constexpr std::uint32_t kMask = U_GC_M_MASK | U_GC_ND_MASK | U_GC_PC_MASK;
  return (U_GET_GC_MASK(u) & kMask) != 0 || u_hasBinaryProperty(u, UCHAR_ALPHABETIC) != 0 ||
         u_hasBinaryProperty(u, UCHAR_JOIN_CONTROL) != 0;
}

Utf8Char utf8_at(std::string_view text, std::size_t i) noexcept {
  const auto byte = [&](std::size_t k) { return static_cast<unsigned char>(text[i + k]); };
  const char32_t b0 = byte(0);
  if (b0 < 0x80) return {b0, 1};
  if (b0 < 0xe0) return {(b0 & 0x1fu) << 6 | (byte(1) & 0x3fu), 2};
  if (b0 < 0xf0) {
    return {(b0 & 0x0fu) << 12 | (byte(1) & 0x3fu) << 6 | (byte(2) & 0x3fu), 3};
  }
  return {(b0 & 0x07u) << 18 | (byte(1) & 0x3fu) << 12 | (byte(2) & 0x3fu) << 6 | (byte(3) & 0x3fu),
          4};
}

std::size_t utf8_valid_prefix(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const Scan scan = scan_char(text.substr(i));
    if (!scan.valid) break;
    i += scan.length;
  }
  return i;
}

std::size_t utf8_incomplete_tail(std::string_view text) noexcept {
  // A start byte among the last three decides; continuation bytes before it belong to others.
  for (std::size_t n = 1; n <= 3 && n <= text.size(); ++n) {
    const auto b = static_cast<unsigned char>(text[text.size() - n]);
    if ((b & 0xc0) == 0x80) continue;
    const Scan scan = scan_char(text.substr(text.size() - n));
    return scan.truncated && scan.length == n ? n : 0;
  }
  return 0;
}

std::string utf8_lossy(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const std::size_t valid = utf8_valid_prefix(text);
    out.append(text.substr(0, valid));
    text.remove_prefix(valid);
    if (text.empty()) break;
    out.append("\xef\xbf\xbd");
    text.remove_prefix(scan_char(text).length);
  }
  return out;
}

void utf8_append(std::string& out, char32_t c) {
  const auto put = [&](char32_t v) { out.push_back(static_cast<char>(v)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xc0 | c >> 6);
    put(0x80 | (c & 0x3f));
  } else if (c < 0x10000) {
    put(0xe0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  } else {
    put(0xf0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3f));
    put(0x80 | (c >> 6 & 0x3f));
    put(0x80 | (c & 0x3f));
  }
}

std::string normalize_nfc(std::string_view text) {
  // Everything below U+0300 is its own NFC and combines with nothing before it: most text.
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0xcc; });
  if (plain) return std::string(text);
  if (text.size() > INT32_MAX / 4) {
    throw_error(ErrorCode::kInvalidArgument, "cannot normalise a text of {} bytes", text.size());
  }
  std::string out;
  icu::StringByteSink<std::string> sink(&out, static_cast<int32_t>(text.size()));
  UErrorCode status = U_ZERO_ERROR;
  nfc_of_reference().normalizeUTF8(
      0, icu::StringPiece(text.data(), static_cast<int32_t>(text.size())), sink, nullptr, status);
  if (U_FAILURE(status)) {
    throw_error(ErrorCode::kInvalidArgument, "cannot normalise text: {}", u_errorName(status));
  }
  return out;
}

}  // namespace reelm::llm
