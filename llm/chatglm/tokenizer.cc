#include "llm/chatglm/tokenizer.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_map>
#include <utility>

#include "core/json.h"
#include "core/throw.h"
#include "llm/tokenizer_sentencepiece.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm::chatglm {

namespace {

constexpr std::size_t kMaxBlank = 80;
constexpr std::int64_t kMaxImageTokens = 1 << 22;

std::string blank_piece(std::size_t spaces) { return fmt::format("<|blank_{}|>", spaces); }

/// Text with its white space as the pieces' names. (_preprocess and _encode_whitespaces.)
std::string with_names(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size();) {
    if (text[i] != ' ') {
      const char c = text[i++];
      out += c == '\n' ? "<n>" : c == '\t' ? "<|tab|>" : std::string_view(&c, 1);
      continue;
    }
    std::size_t run = 1;
    while (run < kMaxBlank && i + run < text.size() && text[i + run] == ' ') ++run;
    out += run == 1 ? " " : blank_piece(run);
    i += run;
  }
  return out;
}

class IceTextTokenizer final : public Tokenizer {
 public:
  IceTextTokenizer(std::unique_ptr<Tokenizer> pieces, TokenId num_image_tokens)
      : pieces_(std::move(pieces)), first_(num_image_tokens) {
    std::unordered_map<std::string, std::string> white = {{"<n>", "\n"}, {"<|tab|>", "\t"}};
    for (std::size_t n = 2; n <= kMaxBlank; ++n) white[blank_piece(n)] = std::string(n, ' ');
    for (TokenId id = 0; id < pieces_->vocab_size(); ++id) {
      const auto found = white.find(pieces_->token_bytes(id));
      if (found != white.end() && !pieces_->is_special(id)) white_space_[id] = found->second;
    }
  }

  std::vector<TokenId> encode(std::string_view text) const override {
    return shifted(pieces_->encode(with_names(text)));
  }
  std::vector<TokenId> encode_with_specials(std::string_view text) const override {
    return shifted(pieces_->encode_with_specials(with_names(text)));
  }
  std::optional<TokenId> special_id(std::string_view content) const override {
    const auto id = pieces_->special_id(content);
    return id ? std::optional(*id + first_) : std::nullopt;
  }
  bool is_special(TokenId id) const override {
    return has_token(id) && pieces_->is_special(id - first_);
  }

  std::string token_bytes(TokenId id) const override {
    if (!has_token(id)) {
      throw_error(ErrorCode::kInvalidArgument, "token id {} is no piece, expected {} to {}", id,
                  first_, vocab_size() - 1);
    }
    const auto white = white_space_.find(id - first_);
    return white == white_space_.end() ? pieces_->token_bytes(id - first_) : white->second;
  }

  std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const override {
    std::string bytes;
    bool drop = false;
    for (const TokenId id : ids) {
      if (!has_token(id) || (skip_special_tokens && is_special(id))) continue;
      if (bytes.empty()) drop = drops_first_space(id);
      bytes += token_bytes(id);
    }
    if (drop && !bytes.empty() && bytes[0] == ' ') bytes.erase(0, 1);
    return utf8_lossy(bytes);
  }

  std::int64_t vocab_size() const override { return pieces_->vocab_size() + first_; }
  bool has_token(TokenId id) const override { return id >= first_ && id < vocab_size(); }
  bool drops_first_space(TokenId first) const override {
    return !white_space_.contains(first - first_) && pieces_->drops_first_space(first - first_);
  }

 private:
  std::vector<TokenId> shifted(std::vector<TokenId> ids) const {
    for (TokenId& id : ids) id += first_;
    return ids;
  }

  std::unique_ptr<Tokenizer> pieces_;
  TokenId first_;                                         // behind the image tokens
  std::unordered_map<TokenId, std::string> white_space_;  // by piece: what it stands for
};

}  // namespace

std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files, const Limits& limits) {
  constexpr const char* kConfig = "tokenizer_config.json";
  std::int64_t image_tokens = 20'000;
  if (files.has(kConfig)) {
    image_tokens = json_int_or(read_json_file(files, kConfig, limits), "num_image_tokens",
                               files.where(kConfig), 0, kMaxImageTokens, image_tokens);
  }
  return std::make_unique<IceTextTokenizer>(
      load_sentencepiece(files.path() / kTokenizerFile, limits),
      static_cast<TokenId>(image_tokens));
}

}  // namespace reelm::llm::chatglm
