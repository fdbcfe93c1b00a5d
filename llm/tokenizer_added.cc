#include "llm/tokenizer_added.h"

#include <algorithm>

#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

bool starts_with_word(std::string_view text) noexcept {
  return !text.empty() && is_word_char(utf8_at(text, 0).code);
}

/// Start of the last character of valid UTF-8 that ends at `end` > 0.
std::size_t previous(std::string_view text, std::size_t end) noexcept {
  --end;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  return end;
}

bool ends_with_word(std::string_view text) noexcept {
  return !text.empty() && is_word_char(utf8_at(text, previous(text, text.size())).code);
}

/// Where the white space at the end of `text` begins.
std::size_t trailing_space(std::string_view text) noexcept {
  std::size_t i = text.size();
  while (i > 0) {
    const std::size_t p = previous(text, i);
    if (!is_whitespace(utf8_at(text, p).code)) break;
    i = p;
  }
  return i;
}

/// Bytes of white space at the start of `text`.
std::size_t leading_space(std::string_view text) noexcept {
  std::size_t i = 0;
  while (i < text.size()) {
    const Utf8Char c = utf8_at(text, i);
    if (!is_whitespace(c.code)) break;
    i += c.length;
  }
  return i;
}

}  // namespace

void AddedTokenMatcher::add(const AddedToken& token, std::string_view spelling) {
  std::uint32_t node = 0;
  for (const char c : spelling) {
    const std::uint64_t key = std::uint64_t{node} << 8 | static_cast<unsigned char>(c);
    const auto [it, is_new] =
        edges_.try_emplace(key, static_cast<std::uint32_t>(node_token_.size()));
    if (is_new) node_token_.push_back(-1);
    node = it->second;
  }
  first_byte_[static_cast<unsigned char>(spelling[0])] = true;
  if (node_token_[node] >= 0) return;  // two contents of one normal form: the first holds
  node_token_[node] = static_cast<std::int32_t>(tokens_.size());
  tokens_.push_back(token);
}

AddedTokenMatcher::Match AddedTokenMatcher::longest_at(std::string_view text) const {
  Match best;
  std::uint32_t node = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto it = edges_.find(std::uint64_t{node} << 8 | static_cast<unsigned char>(text[i]));
    if (it == edges_.end()) break;
    node = it->second;
    if (node_token_[node] >= 0) best = {node_token_[node], i + 1};
  }
  return best;
}

std::vector<AddedTokenMatcher::Piece> AddedTokenMatcher::split(std::string_view text,
                                                               bool specials) const {
  std::vector<Piece> pieces;
  std::size_t done = 0;  // everything before has been handed out
  std::size_t i = 0;
  while (!tokens_.empty() && i < text.size()) {
    const Match match =
        first_byte_[static_cast<unsigned char>(text[i])] ? longest_at(text.substr(i)) : Match{};
    if (match.token < 0) {
      ++i;
      continue;
    }
    std::size_t start = i;
    std::size_t stop = i + match.length;
    i = stop;  // the search goes on behind the match, even one that does not count
    const AddedToken& token = tokens_[static_cast<std::size_t>(match.token)];
    if (token.special && !specials) continue;
    if (token.single_word &&
        (ends_with_word(text.substr(0, start)) || starts_with_word(text.substr(stop)))) {
      continue;
    }
    // White space that an rstrip token before has taken is gone: nothing may be left of this one.
    if (token.lstrip) start = std::max(trailing_space(text.substr(0, start)), done);
    if (token.rstrip) stop += leading_space(text.substr(stop));
    if (start >= stop) continue;
    if (done < start) pieces.push_back({Piece::kText, text.substr(done, start - done)});
    pieces.push_back({token.id, text.substr(start, stop - start)});
    done = stop;
  }
  if (done < text.size()) pieces.push_back({Piece::kText, text.substr(done)});
  return pieces;
}

}  // namespace reelm::llm
