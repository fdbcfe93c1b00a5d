#include "llm/tokenizer_sentencepiece.h"

#include <sentencepiece_processor.h>

#include <charconv>
#include <exception>
#include <unordered_map>

#include "core/mapped_file.h"
#include "core/throw.h"
#include "llm/sentencepiece_model.h"
#include "llm/tokenizer_added.h"
#include "llm/tokenizer_unicode.h"

namespace sentencepiece::logging {
// Exported by the library; its header is not installed.
void SetMinLogLevel(int level);
}  // namespace sentencepiece::logging

namespace reelm::llm {

namespace {

using Type = SentencePieceEntry::Type;

constexpr std::string_view kSpaceSymbol = "\xe2\x96\x81";  // U+2581 stands for a space

/// The bytes of a piece that is not special.
std::string bytes_of_piece(const SentencePieceEntry& entry) {
  if (entry.type == Type::kByte && entry.piece.size() == 6) {  // <0xAB>
    unsigned value = 0;
    const char* digits = entry.piece.data() + 3;
    const auto [end, error] = std::from_chars(digits, digits + 2, value, 16);
    if (error == std::errc() && end == digits + 2) return {static_cast<char>(value)};
  }
  std::string out;
  for (std::size_t i = 0; i < entry.piece.size();) {
    if (entry.piece.compare(i, kSpaceSymbol.size(), kSpaceSymbol) == 0) {
      out.push_back(' ');
      i += kSpaceSymbol.size();
    } else {
      out.push_back(entry.piece[i++]);
    }
  }
  return out;
}

class SentencePieceTokenizer final : public Tokenizer {
 public:
  SentencePieceTokenizer(const MappedFile& file, const std::string& source,
                         std::span<const std::string> more_specials)
      : source_(source) {
    const SentencePieceModel model = parse_sentencepiece_model(file.bytes(), source);
    drops_first_space_ = model.add_dummy_prefix || model.remove_extra_whitespaces;
    for (const SentencePieceEntry& entry : model.pieces) {
      if (entry.type == Type::kControl || entry.type == Type::kUnknown) {
        add_special(entry.piece);
      } else {
        special_.push_back(false);
        bytes_.push_back(bytes_of_piece(entry));
      }
    }
    load_library(file);
    for (const std::string& content : more_specials) add_special(content);
  }

  std::vector<TokenId> encode(std::string_view text) const override {
    std::vector<TokenId> out;
    encode_into(utf8_lossy(text), out);
    return out;
  }

  std::vector<TokenId> encode_with_specials(std::string_view text) const override {
    std::vector<TokenId> out;
    const std::string valid = utf8_lossy(text);
    for (const auto& piece : controls_.split(valid, true)) {
      if (piece.id != AddedTokenMatcher::Piece::kText) {
        out.push_back(piece.id);
      } else {
        encode_into(piece.text, out);
      }
    }
    return out;
  }

  std::optional<TokenId> special_id(std::string_view content) const override {
    const auto it = special_ids_.find(std::string(content));
    if (it == special_ids_.end()) return std::nullopt;
    return it->second;
  }

  bool is_special(TokenId id) const override {
    return known(id) && special_[static_cast<std::size_t>(id)];
  }

  std::string token_bytes(TokenId id) const override {
    if (!known(id)) {
      throw_error(ErrorCode::kInvalidArgument, "token id {} is not in the vocabulary of {} pieces",
                  id, bytes_.size());
    }
    return bytes_[static_cast<std::size_t>(id)];
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string bytes;
    for (const TokenId id : ids) {
      if (!known(id) || (skip_special_tokens && is_special(id))) continue;
      bytes += bytes_[static_cast<std::size_t>(id)];
    }
    if (drops_first_space_ && !bytes.empty() && bytes[0] == ' ') bytes.erase(0, 1);
    return utf8_lossy(bytes);
  }

  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(bytes_.size()); }

  bool drops_first_space(TokenId /*first*/) const override { return drops_first_space_; }

 private:
  /// With the next id; of several with one content the first is found by it.
  void add_special(const std::string& content) {
    AddedToken token;
    token.id = static_cast<TokenId>(bytes_.size());
    token.content = content;
    token.special = true;
    special_.push_back(true);
    bytes_.push_back(content);
    if (special_ids_.emplace(content, token.id).second) controls_.add(token, content);
  }

  bool known(TokenId id) const noexcept {
    return id >= 0 && static_cast<std::size_t>(id) < bytes_.size();
  }

  void load_library(const MappedFile& file) {
    // The library must not print: its messages come back as a Status. 3 lets only fatal ones out.
    sentencepiece::logging::SetMinLogLevel(3);
    const auto bytes = file.bytes();
    try {
      const auto status = processor_.LoadFromSerializedProto(
          {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
      if (!status.ok()) {
        throw_error(ErrorCode::kFormat, "{}: not a usable SentencePiece model: {}", source_,
                    status.ToString());
      }
    } catch (const Error&) {
      throw;
    } catch (const std::exception& e) {  // Darts::Exception, std::bad_alloc
      throw_error(ErrorCode::kFormat, "{}: not a usable SentencePiece model: {}", source_,
                  e.what());
    }
    if (static_cast<std::size_t>(processor_.GetPieceSize()) != bytes_.size()) {
      throw_error(ErrorCode::kFormat, "{}: {} pieces, but libsentencepiece finds {}", source_,
                  bytes_.size(), processor_.GetPieceSize());
    }
  }

  void encode_into(std::string_view text, std::vector<TokenId>& out) const {
    std::vector<int> ids;
    std::string failure;
    try {
      const auto status = processor_.Encode({text.data(), text.size()}, &ids);
      if (!status.ok()) failure = status.ToString();
    } catch (const std::exception& e) {
      failure = e.what();
    }
    if (!failure.empty()) {
      throw_error(ErrorCode::kFormat, "{}: libsentencepiece cannot encode a text of {} bytes: {}",
                  source_, text.size(), failure);
    }
    out.insert(out.end(), ids.begin(), ids.end());
  }

  std::string source_;
  sentencepiece::SentencePieceProcessor processor_;
  std::vector<std::string> bytes_;  // by id
  std::vector<bool> special_;       // by id
  std::unordered_map<std::string, TokenId> special_ids_;
  AddedTokenMatcher controls_;
  bool drops_first_space_ = false;
};

}  // namespace

std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path,
                                              const Limits& limits,
                                              std::span<const std::string> more_specials) {
  return std::make_unique<SentencePieceTokenizer>(map_parsed_file(path, limits), path.string(),
                                                  more_specials);
}

}  // namespace reelm::llm
