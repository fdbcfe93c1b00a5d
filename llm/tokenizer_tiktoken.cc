#include "llm/tokenizer_tiktoken.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include "core/throw.h"
#include "llm/tokenizer_files.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

constexpr int kExtras = 205;

// Twice the longest of Qwen's: a token of n bytes can be cut in n - 1 places, each to be looked up.
constexpr std::size_t kMaxTokenBytes = 256;

/// The bytes of padded base64, or nothing.
std::optional<std::string> from_base64(std::string_view text) {
  constexpr std::string_view kDigits =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.empty() || text.size() % 4 != 0) return std::nullopt;
  const std::size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  text.remove_suffix(padding);
  std::string out;
  std::uint32_t bits = 0;
  int held = 0;
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == kDigits.npos) return std::nullopt;
    bits = bits << 6 | static_cast<std::uint32_t>(digit);
    held += 6;
    if (held < 8) continue;
    held -= 8;
    out.push_back(static_cast<char>(bits >> held & 0xff));
  }
  return out;
}

/// "base64 rank" of a line.
std::pair<std::string, TokenId> read_line(std::string_view line, const std::string& file,
                                          std::size_t number) {
  const std::size_t space = line.find(' ');
  const std::string_view digits = line.substr(std::min(space, line.size() - 1) + 1);
  const std::optional<std::string> bytes = from_base64(line.substr(0, space));
  TokenId rank = -1;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), rank);
  const bool is_rank = error == std::errc() && end == digits.data() + digits.size() && rank >= 0 &&
                       rank <= kMaxTokenId;
  if (space == line.npos || !bytes || bytes->size() > kMaxTokenBytes || !is_rank) {
    throw_error(ErrorCode::kFormat,
                "{}: line {}: expected a token of 1 to {} bytes in base64, a space and a rank of 0 "
                "to {}, found '{}'",
                file, number, kMaxTokenBytes, kMaxTokenId, utf8_lossy(line.substr(0, 60)));
  }
  return {spelling_of_bytes(*bytes), rank};
}

/// Every way to cut a token into two others.
std::vector<BpeData::IdMerge> find_merges(const BpeData& data) {
  const SpellingTable ids(data.vocab);
  std::vector<BpeData::IdMerge> out;
  for (const auto& [spelling, id] : data.vocab) {
    if (const TokenId other = ids.find(spelling); other != id) {
      throw_error(ErrorCode::kFormat, "{}: token '{}' has ranks {} and {}, expected one",
                  data.vocab_source, utf8_lossy(bytes_of_spelling(spelling)), other, id);
    }
    const std::string_view whole = spelling;
    for (std::size_t cut = utf8_at(whole, 0).length; cut < whole.size();
         cut += utf8_at(whole, cut).length) {
      const TokenId left = ids.find(whole.substr(0, cut));
      const TokenId right = left < 0 ? -1 : ids.find(whole.substr(cut));
      if (right >= 0) out.push_back({left, right, id});
    }
  }
  return out;
}

/// Ranks are the ids 0 to n - 1: the special tokens begin behind them.
void check_ranks(const BpeData& data) {
  std::vector<bool> there(data.vocab.size());
  for (const auto& [spelling, rank] : data.vocab) {
    const auto i = static_cast<std::size_t>(rank);
    if (i < there.size() && !there[i]) {
      there[i] = true;
      continue;
    }
    throw_error(ErrorCode::kFormat, "{}: rank {} is {}, expected each of 0 to {} once",
                data.vocab_source, rank, i < there.size() ? "there twice" : "too large",
                data.vocab.size() - 1);
  }
}

void add_specials(BpeData& data) {
  const auto add = [&](std::string content) {
    AddedToken token;
    token.id = static_cast<TokenId>(data.vocab.size() + data.added.size());
    token.content = std::move(content);
    token.special = true;
    data.added.push_back(std::move(token));
  };
  for (const char* name : {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}) add(name);
  for (int i = 0; i < kExtras; ++i) add(fmt::format("<|extra_{}|>", i));
}

}  // namespace

BpeData read_tiktoken(const ModelFiles& files, const Limits& limits) {
  BpeData data;
  data.vocab_source = files.where(kTiktokenFile);
  data.ignore_merges = true;
  for_each_line(files.read(kTiktokenFile, limits), [&](std::string_view line, std::size_t number) {
    data.vocab.push_back(read_line(line, data.vocab_source, number));
  });
  if (data.vocab.empty()) throw_error(ErrorCode::kFormat, "{}: has no tokens", data.vocab_source);
  check_ranks(data);
  data.id_merges = find_merges(data);
  add_specials(data);
  return data;
}

}  // namespace reelm::llm
