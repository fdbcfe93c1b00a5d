#include "llm/tokenizer_bpe.h"

#include <algorithm>
#include <bit>
#include <queue>

#include "core/throw.h"
#include "llm/tokenizer_split.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

/// Texts above this are refused: positions inside a word are 32-bit.
constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

/// bytes_to_unicode of GPT-2: printable Latin-1 stands for itself, the rest for U+0100 and on.
bool stands_for_itself(unsigned b) noexcept {
  return (b >= 33 && b <= 126) || (b >= 161 && b <= 172) || b >= 174;
}

/// Code point (below 324) -> byte, or -1.
const std::array<std::int16_t, 324>& alphabet() {
  static const auto table = [] {
    std::array<std::int16_t, 324> t;
    t.fill(-1);
    std::size_t next = 256;
    for (unsigned b = 0; b < 256; ++b) {
      t[stands_for_itself(b) ? b : next++] = static_cast<std::int16_t>(b);
    }
    return t;
  }();
  return table;
}

/// For messages: short and valid UTF-8.
std::string quote(std::string_view text) {
  std::string out = utf8_lossy(text.substr(0, 60));
  return "'" + out + (text.size() > 60 ? "...'" : "'");
}

/// Repeatedly merges the adjacent pair of lowest rank, leftmost first: Word::merge_all of the
/// `tokenizers` library. O(n log n) through a heap whose stale entries are dropped when they
/// surface.
class WordMerger {
 public:
  explicit WordMerger(const MergeTable& merges) : merges_(merges) {}

  /// Appends the ids of `word`; `byte_ids` has the id of each byte.
  void run(std::string_view word, const std::array<TokenId, 256>& byte_ids,
           std::vector<TokenId>& out) {
    const auto n = static_cast<std::int32_t>(word.size());
    symbols_.resize(word.size());
    for (std::int32_t i = 0; i < n; ++i) {
      symbols_[i] = {byte_ids[static_cast<unsigned char>(word[i])], i - 1, i + 1 < n ? i + 1 : -1};
    }
    for (std::int32_t i = 0; i + 1 < n; ++i) offer(i);
    while (!heap_.empty()) {
      const Candidate top = heap_.top();
      heap_.pop();
      merge(top);
    }
    for (std::int32_t i = 0; i >= 0; i = symbols_[i].next) out.push_back(symbols_[i].id);
  }

 private:
  static constexpr TokenId kGone = -1;
  struct Symbol {
    TokenId id;
    std::int32_t prev;
    std::int32_t next;
  };
  struct Candidate {
    std::int32_t rank;
    std::int32_t at;
    TokenId id;
    bool operator>(const Candidate& o) const noexcept {
      return rank != o.rank ? rank > o.rank : at > o.at;
    }
  };

  /// Puts the pair that starts at symbol `i` on the heap if it merges.
  void offer(std::int32_t i) {
    const Symbol& left = symbols_[i];
    if (left.next < 0) return;
    const MergeTable::Merge m = merges_.find(left.id, symbols_[left.next].id);
    if (m.rank >= 0) heap_.push({m.rank, i, m.id});
  }

  void merge(const Candidate& top) {
    Symbol& left = symbols_[top.at];
    if (left.id == kGone || left.next < 0) return;
    Symbol& right = symbols_[left.next];
    const MergeTable::Merge now = merges_.find(left.id, right.id);
    if (now.rank < 0 || now.id != top.id) return;  // stale: a neighbour has changed
    left.id = top.id;
    left.next = right.next;
    right.id = kGone;
    if (left.next >= 0) symbols_[left.next].prev = top.at;
    if (left.prev >= 0) offer(left.prev);
    offer(top.at);
  }

  const MergeTable& merges_;
  std::vector<Symbol> symbols_;
  std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>> heap_;
};

class BpeTokenizer final : public Tokenizer {
 public:
  explicit BpeTokenizer(const BpeData& data)
      : merges_(data.merges.size() + data.id_merges.size()),
        nfc_(data.nfc),
        ignore_merges_(data.ignore_merges) {
    const SpellingTable ids(data.vocab);
    load_vocab(data);
    load_bytes(data, ids);
    load_merges(data, ids);
    load_added(data, ids);
    if (!ignore_merges_) return;
    for (const auto& [spelling, id] : data.vocab) whole_words_.try_emplace(bytes_[id], id);
  }

  std::vector<TokenId> encode(std::string_view text) const override { return run(text, false); }

  std::vector<TokenId> encode_with_specials(std::string_view text) const override {
    return run(text, true);
  }

  std::optional<TokenId> special_id(std::string_view content) const override {
    const auto it = special_ids_.find(std::string(content));
    if (it == special_ids_.end()) return std::nullopt;
    return it->second;
  }

  bool is_special(TokenId id) const override {
    return known(id) && kinds_[static_cast<std::size_t>(id)] == Kind::kSpecial;
  }

  std::string token_bytes(TokenId id) const override {
    if (!known(id)) {
      throw_error(ErrorCode::kInvalidArgument,
                  "token id {} is not in the vocabulary (largest id {})", id, bytes_.size() - 1);
    }
    return bytes_[static_cast<std::size_t>(id)];
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string bytes;
    for (const TokenId id : ids) {
      // Ids without a token (the padding rows of lm_head) say nothing, as in the reference.
      if (!known(id) || (skip_special_tokens && is_special(id))) continue;
      bytes += bytes_[static_cast<std::size_t>(id)];
    }
    return utf8_lossy(bytes);
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(bytes_.size()); }

  bool has_token(TokenId id) const override { return known(id); }

 private:
  enum class Kind : std::uint8_t { kNone, kNormal, kSpecial };

  bool known(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < kinds_.size() &&
           kinds_[static_cast<std::size_t>(id)] != Kind::kNone;
  }

  /// Makes id mean `spelling`; the caller has checked that it is free.
  void define(TokenId id, std::string_view spelling, Kind kind) {
    const auto i = static_cast<std::size_t>(id);
    if (i >= bytes_.size()) {
      bytes_.resize(i + 1);
      kinds_.resize(i + 1, Kind::kNone);
    }
    bytes_[i] = bytes_of_spelling(spelling);
    kinds_[i] = kind;
  }

  void load_vocab(const BpeData& data);
  void load_bytes(const BpeData& data, const SpellingTable& ids);
  void load_merges(const BpeData& data, const SpellingTable& ids);
  void load_added(const BpeData& data, const SpellingTable& ids);
  std::vector<TokenId> run(std::string_view text, bool specials) const;
  void encode_words(std::string_view text, WordMerger& merger, std::vector<TokenId>& out) const;

  std::vector<std::string> bytes_;  // by id
  std::vector<Kind> kinds_;         // by id
  std::array<TokenId, 256> byte_ids_{};
  MergeTable merges_;
  AddedTokenMatcher added_;             // looked for in the text as it is
  AddedTokenMatcher added_normalized_;  // looked for in its normal form
  std::unordered_map<std::string, TokenId> special_ids_;
  std::unordered_map<std::string, TokenId> whole_words_;  // only with ignore_merges
  bool nfc_;
  bool ignore_merges_;
};

void BpeTokenizer::load_vocab(const BpeData& data) {
  bytes_.reserve(data.vocab.size() + data.added.size());
  kinds_.reserve(data.vocab.size() + data.added.size());
  std::vector<const std::string*> owner;
  for (const auto& [spelling, id] : data.vocab) {
    if (id < 0 || id > kMaxTokenId) {
      throw_error(ErrorCode::kFormat, "{}: token {} has id {}, expected 0 to {}", data.vocab_source,
                  quote(spelling), id, kMaxTokenId);
    }
    const auto i = static_cast<std::size_t>(id);
    if (i >= owner.size()) owner.resize(i + 1);
    if (owner[i] != nullptr) {
      throw_error(ErrorCode::kFormat, "{}: tokens {} and {} have the same id {}", data.vocab_source,
                  quote(*owner[i]), quote(spelling), id);
    }
    owner[i] = &spelling;
    define(id, spelling, Kind::kNormal);
  }
}

void BpeTokenizer::load_bytes(const BpeData& data, const SpellingTable& ids) {
  for (char32_t c = 0; c < alphabet().size(); ++c) {
    const int byte = alphabet()[c];
    if (byte < 0) continue;
    std::string spelling;
    utf8_append(spelling, c);
    const TokenId id = ids.find(spelling);
    if (id < 0) {
      throw_error(ErrorCode::kFormat,
                  "{}: no token for byte 0x{:02x} (spelled '{}'): text with it would be lost",
                  data.vocab_source, byte, spelling);
    }
    byte_ids_[static_cast<std::size_t>(byte)] = id;
  }
}

void BpeTokenizer::load_merges(const BpeData& data, const SpellingTable& ids) {
  std::string merged;
  const auto id_of = [&](std::string_view spelling, std::size_t rank) {
    const TokenId id = ids.find(spelling);
    if (id < 0) {
      throw_error(ErrorCode::kFormat,
                  "{}: merge {} ({} + {}) needs the token {}, which is not in {}",
                  data.merges_source, rank, quote(data.merges[rank].first),
                  quote(data.merges[rank].second), quote(spelling), data.vocab_source);
    }
    return id;
  };
  for (std::size_t rank = 0; rank < data.merges.size(); ++rank) {
    const auto& [left, right] = data.merges[rank];
    merged.assign(left).append(right);
    merges_.insert(id_of(left, rank), id_of(right, rank),
                   {static_cast<std::int32_t>(rank), id_of(merged, rank)});
  }
  for (const BpeData::IdMerge& m : data.id_merges) merges_.insert(m.left, m.right, {m.id, m.id});
}

void BpeTokenizer::load_added(const BpeData& data, const SpellingTable& ids) {
  std::unordered_map<std::string_view, TokenId> added_ids;
  for (const AddedToken& token : data.added) {
    // The id this content has elsewhere, or -1.
    const auto before = added_ids.find(token.content);
    const TokenId other = before != added_ids.end() ? before->second : ids.find(token.content);
    if (other >= 0 && other != token.id) {
      throw_error(ErrorCode::kFormat, "{}: added token {} has id {}, but elsewhere it has {}",
                  data.vocab_source, quote(token.content), token.id, other);
    }
    if (other < 0 && known(token.id)) {
      throw_error(ErrorCode::kFormat, "{}: added token {} has id {}, which is that of {}",
                  data.vocab_source, quote(token.content), token.id,
                  quote(bytes_[static_cast<std::size_t>(token.id)]));
    }
    added_ids.emplace(token.content, token.id);
    define(token.id, token.content, token.special ? Kind::kSpecial : Kind::kNormal);
    if (token.special) special_ids_[token.content] = token.id;
    if (token.normalized) {
      added_normalized_.add(token, nfc_ ? normalize_nfc(token.content) : token.content);
    } else {
      added_.add(token, token.content);
    }
  }
}

std::vector<TokenId> BpeTokenizer::run(std::string_view text, bool specials) const {
  if (text.size() > kMaxTextBytes) {
    throw_error(ErrorCode::kInvalidArgument, "a text of {} bytes is over {}", text.size(),
                kMaxTextBytes);
  }
  std::string repaired;
  if (utf8_valid_prefix(text) != text.size()) {
    repaired = utf8_lossy(text);
    text = repaired;
  }
  std::vector<TokenId> out;
  WordMerger merger(merges_);
  for (const auto& piece : added_.split(text, specials)) {
    if (piece.id != AddedTokenMatcher::Piece::kText) {
      out.push_back(piece.id);
      continue;
    }
    const std::string normal = nfc_ ? normalize_nfc(piece.text) : std::string(piece.text);
    for (const auto& part : added_normalized_.split(normal, specials)) {
      if (part.id != AddedTokenMatcher::Piece::kText) {
        out.push_back(part.id);
      } else {
        encode_words(part.text, merger, out);
      }
    }
  }
  return out;
}

void BpeTokenizer::encode_words(std::string_view text, WordMerger& merger,
                                std::vector<TokenId>& out) const {
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = next_word(text, begin);
    const std::string_view word = text.substr(begin, end - begin);
    begin = end;
    if (ignore_merges_) {
      if (const auto it = whole_words_.find(std::string(word)); it != whole_words_.end()) {
        out.push_back(it->second);
        continue;
      }
    }
    merger.run(word, byte_ids_, out);
  }
}

}  // namespace

std::string bytes_of_spelling(std::string_view spelling) {
  std::string bytes;
  for (std::size_t i = 0; i < spelling.size();) {
    const Utf8Char c = utf8_at(spelling, i);
    if (c.code >= alphabet().size() || alphabet()[c.code] < 0) return std::string(spelling);
    bytes.push_back(static_cast<char>(alphabet()[c.code]));
    i += c.length;
  }
  return bytes;
}

std::string spelling_of_bytes(std::string_view bytes) {
  static const auto spellings = [] {
    std::array<std::string, 256> out;
    for (char32_t c = 0; c < alphabet().size(); ++c) {
      if (alphabet()[c] >= 0) utf8_append(out[static_cast<std::size_t>(alphabet()[c])], c);
    }
    return out;
  }();
  std::string out;
  for (const char byte : bytes) out += spellings[static_cast<unsigned char>(byte)];
  return out;
}

MergeTable::MergeTable(std::size_t n) {
  const std::size_t size = std::bit_ceil(std::max<std::size_t>(2 * n, 2));
  slots_.resize(size);
  shift_ = 64 - std::countr_zero(size);
}

std::size_t MergeTable::slot_of(std::uint64_t key) const noexcept {
  // Fibonacci hashing, then linear probing.
  auto i = static_cast<std::size_t>((key * 0x9e3779b97f4a7c15u) >> shift_);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & (slots_.size() - 1);
  return i;
}

void MergeTable::insert(TokenId left, TokenId right, Merge merge) noexcept {
  const std::uint64_t key =
      std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  slots_[slot_of(key)] = {key, merge};
}

MergeTable::Merge MergeTable::find(TokenId left, TokenId right) const noexcept {
  const std::uint64_t key =
      std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  return slots_[slot_of(key)].merge;
}

SpellingTable::SpellingTable(const std::vector<std::pair<std::string, TokenId>>& vocab)
    : vocab_(vocab), slots_(std::bit_ceil(std::max<std::size_t>(2 * vocab.size(), 2))) {
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t entry = 0; entry < vocab.size(); ++entry) {
    const std::size_t hash = std::hash<std::string_view>()(vocab[entry].first);
    std::size_t i = hash & mask;
    const auto high = static_cast<std::uint32_t>(hash >> 32);
    for (; slots_[i].entry != 0; i = (i + 1) & mask) {
      if (slots_[i].hash == high && vocab[slots_[i].entry - 1].first == vocab[entry].first) {
        unique_ = false;
      }
    }
    slots_[i] = {high, static_cast<std::uint32_t>(entry + 1)};
  }
}

TokenId SpellingTable::find(std::string_view spelling) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  const std::size_t hash = std::hash<std::string_view>()(spelling);
  for (std::size_t i = hash & mask; slots_[i].entry != 0; i = (i + 1) & mask) {
    if (slots_[i].hash != static_cast<std::uint32_t>(hash >> 32)) continue;
    const auto& [found, id] = vocab_[slots_[i].entry - 1];
    if (found == spelling) return id;
  }
  return -1;
}

std::unique_ptr<Tokenizer> make_bpe_tokenizer(const BpeData& data) {
  return std::make_unique<BpeTokenizer>(data);
}

}  // namespace reelm::llm
