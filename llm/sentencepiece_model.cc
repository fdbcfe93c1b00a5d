#include "llm/sentencepiece_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "core/throw.h"
#include "llm/tokenizer_bpe.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

constexpr std::size_t kMaxPieceBytes = 4096;         // in use: some dozens
constexpr std::size_t kMaxCharsmapBytes = 4u << 20;  // in use: 0.3 MB
constexpr std::size_t kMaxReplacementBytes = 1024;   // in use: 33
constexpr int kMaxLeavesOnPath = 32;                 // Normalizer::kMaxTrieResultsSize

/// The fields of one protocol buffer message, in order.
class ProtoReader {
 public:
  ProtoReader(std::string_view bytes, const std::string& source) : bytes_(bytes), source_(source) {}

  /// Moves to the next field; false at the end.
  bool next() {
    if (bytes_.empty()) return false;
    const std::uint64_t key = varint();
    field_ = key >> 3;
    payload_ = {};
    number_ = 0;
    switch (key & 7) {
      case 0:
        number_ = varint();
        break;
      case 1:
        payload_ = take(8);
        break;
      case 2:
        payload_ = take(varint());
        break;
      case 5:
        payload_ = take(4);
        break;
      default:
        fail(fmt::format("wire type {}", key & 7));
    }
    if (field_ == 0) fail("field number 0");
    return true;
  }

  std::uint64_t field() const noexcept { return field_; }
  std::uint64_t number() const noexcept { return number_; }
  std::string_view payload() const noexcept { return payload_; }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw_error(ErrorCode::kFormat, "{}: not a SentencePiece model: {} in the protocol buffer",
                source_, what);
  }

  std::string_view take(std::uint64_t n) {
    if (n > bytes_.size()) fail(fmt::format("a field of {} bytes with {} left", n, bytes_.size()));
    const std::string_view out = bytes_.substr(0, static_cast<std::size_t>(n));
    bytes_.remove_prefix(static_cast<std::size_t>(n));
    return out;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto b = static_cast<unsigned char>(take(1)[0]);
      value |= static_cast<std::uint64_t>(b & 0x7f) << shift;
      if ((b & 0x80) == 0) return value;
    }
    fail("a number without end");
  }

  std::string_view bytes_;
  const std::string& source_;
  std::uint64_t field_ = 0;
  std::uint64_t number_ = 0;
  std::string_view payload_;
};

SentencePieceEntry parse_piece(std::string_view bytes, std::size_t id, const std::string& source) {
  SentencePieceEntry entry;
  ProtoReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 1) entry.piece = in.payload();
    if (in.field() == 2 && in.payload().size() == 4) {
      float score = 0;
      std::memcpy(&score, in.payload().data(), sizeof(score));
      if (!std::isfinite(score)) {
        throw_error(ErrorCode::kFormat, "{}: piece {} has a score that is not finite", source, id);
      }
    }
    if (in.field() == 3 && in.number() >= 1 && in.number() <= 6) {
      entry.type = static_cast<SentencePieceEntry::Type>(in.number());
    }
  }
  const std::string& piece = entry.piece;
  if (piece.empty() || piece.size() > kMaxPieceBytes || piece.find('\0') != std::string::npos ||
      utf8_valid_prefix(piece) != piece.size()) {
    throw_error(ErrorCode::kFormat, "{}: piece {} is {} bytes, expected 1 to {} of UTF-8", source,
                id, piece.size(), kMaxPieceBytes);
  }
  return entry;
}

void parse_normalizer(std::string_view bytes, const std::string& source,
                      SentencePieceModel* model) {
  ProtoReader in(bytes, source);
  while (in.next()) {
    if (in.field() == 2) check_precompiled_charsmap(in.payload(), source);
    if (model == nullptr) continue;
    if (in.field() == 3) model->add_dummy_prefix = in.number() != 0;
    if (in.field() == 4) model->remove_extra_whitespaces = in.number() != 0;
  }
}

/// The units of a Darts-clone double array (darts.h of sentencepiece's third_party).
class DoubleArray {
 public:
  explicit DoubleArray(std::string_view bytes) : units_(bytes.size() / 4) {
    std::memcpy(units_.data(), bytes.data(), units_.size() * 4);
  }
  std::size_t size() const noexcept { return units_.size(); }
  std::uint32_t label(std::size_t i) const noexcept { return units_[i] & (0x80000000u | 0xffu); }
  bool has_leaf(std::size_t i) const noexcept { return (units_[i] >> 8 & 1u) != 0; }
  std::uint32_t value(std::size_t i) const noexcept { return units_[i] & 0x7fffffffu; }
  /// Where the children of unit i begin: child c is at begin ^ c.
  std::size_t children(std::size_t i) const noexcept {
    return i ^ (units_[i] >> 10) << ((units_[i] & (1u << 9)) >> 6);
  }

 private:
  std::vector<std::uint32_t> units_;
};

/// Walks every state a look-up can reach, depth first; suffixes are shared, so states are
/// remembered with the most leaves on a path below them.
class CharsmapWalk {
 public:
  CharsmapWalk(const DoubleArray& array, std::string_view strings, const std::string& source)
      : array_(array), strings_(strings), source_(source), leaves_below_(array.size(), kUnseen) {}

  void run() {
    enter(array_.children(0));
    while (!stack_.empty()) {
      Frame& frame = stack_.back();
      if (frame.next_label == 256) {
        const Frame done = frame;
        stack_.pop_back();
        leaves_below_[done.state] = done.leaves;
        if (!stack_.empty()) add_path(stack_.back(), stack_.back().edge_leaf, done.leaves);
        continue;
      }
      follow(frame, frame.next_label++);
    }
  }

 private:
  static constexpr std::int16_t kUnseen = -1;
  static constexpr std::int16_t kOpen = -2;
  struct Frame {
    std::size_t state;
    unsigned next_label;
    std::int16_t leaves;  // most on a path below
    bool edge_leaf;       // whether the edge being followed has a leaf
  };

  [[noreturn]] void fail(const char* what) const {
    throw_error(ErrorCode::kFormat, "{}: precompiled_charsmap is damaged: {}", source_, what);
  }

  void enter(std::size_t state) {
    // The 256 children of a state are one aligned block: inside as a whole or not at all.
    if ((state | 0xffu) >= array_.size()) fail("an offset leads outside");
    leaves_below_[state] = kOpen;
    stack_.push_back({state, 0, 0, false});
  }

  void add_path(Frame& frame, bool leaf, std::int16_t below) const {
    const auto leaves = static_cast<std::int16_t>(below + (leaf ? 1 : 0));
    if (leaves > kMaxLeavesOnPath) fail("more than 32 rules along one text");
    frame.leaves = std::max(frame.leaves, leaves);
  }

  void follow(Frame& frame, unsigned label) {
    const std::size_t unit = frame.state ^ label;
    if (array_.label(unit) != label) return;
    const std::size_t state = array_.children(unit);
    const bool leaf = array_.has_leaf(unit);
    if (state >= array_.size()) fail("an offset leads outside");
    if (leaf) check_string(array_.value(state));
    if (leaves_below_[state] == kOpen) fail("it goes in circles");
    if (leaves_below_[state] != kUnseen) {
      add_path(frame, leaf, leaves_below_[state]);
      return;
    }
    frame.edge_leaf = leaf;
    enter(state);  // `frame` is no longer valid
  }

  void check_string(std::size_t at) const {
    if (at >= strings_.size()) fail("a replacement lies outside");
    if (std::strlen(strings_.data() + at) > kMaxReplacementBytes) {
      fail("a replacement is over 1,024 bytes");
    }
  }

  const DoubleArray& array_;
  std::string_view strings_;  // ends with NUL
  const std::string& source_;
  std::vector<std::int16_t> leaves_below_;  // by state
  std::vector<Frame> stack_;
};

}  // namespace

void check_precompiled_charsmap(std::string_view blob, const std::string& source) {
  if (blob.empty()) return;
  const auto fail = [&](const char* what) {
    throw_error(ErrorCode::kFormat, "{}: precompiled_charsmap of {} bytes {}", source, blob.size(),
                what);
  };
  if (blob.size() > kMaxCharsmapBytes) fail("is over 4 MB");
  std::uint32_t array_bytes = 0;
  if (blob.size() <= sizeof(array_bytes)) fail("is too short");
  std::memcpy(&array_bytes, blob.data(), sizeof(array_bytes));
  blob.remove_prefix(sizeof(array_bytes));
  if (array_bytes >= blob.size() || array_bytes < 4 || array_bytes % 4 != 0) {
    fail("has a double array of the wrong size");
  }
  const std::string_view strings = blob.substr(array_bytes);
  if (strings.back() != '\0') fail("does not end with NUL");
  const DoubleArray array(blob.substr(0, array_bytes));
  CharsmapWalk(array, strings, source).run();
}

SentencePieceModel parse_sentencepiece_model(std::span<const std::byte> bytes,
                                             const std::string& source) {
  SentencePieceModel model;
  ProtoReader in({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, source);
  while (in.next()) {
    if (in.field() == 1) {
      if (model.pieces.size() > static_cast<std::size_t>(kMaxTokenId)) {
        throw_error(ErrorCode::kFormat, "{}: more than {} pieces", source, kMaxTokenId + 1);
      }
      model.pieces.push_back(parse_piece(in.payload(), model.pieces.size(), source));
    } else if (in.field() == 2) {
      ProtoReader trainer(in.payload(), source);
      while (trainer.next()) {
        if (trainer.field() == 24 && trainer.number() != 0) {
          throw_error(ErrorCode::kUnsupported,
                      "{}: treat_whitespace_as_suffix is set, reelm supports only prefixes",
                      source);
        }
      }
    } else if (in.field() == 3) {
      parse_normalizer(in.payload(), source, &model);
    } else if (in.field() == 5) {
      parse_normalizer(in.payload(), source, nullptr);
    }
  }
  if (model.pieces.empty()) {
    throw_error(ErrorCode::kFormat, "{}: not a SentencePiece model: no pieces", source);
  }
  return model;
}

}  // namespace reelm::llm
