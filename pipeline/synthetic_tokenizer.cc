#include "pipeline/synthetic_tokenizer.h"

#include <algorithm>
#include <array>

#include "core/throw.h"

namespace reelm::pipeline {

namespace {

// Ids of the special tokens in Qwen2-VL's vocabulary; a small one has them at its end.
constexpr llm::TokenId kQwenImStart = 151644;
constexpr std::array<std::string_view, 13> kSpecials = {
    "<|im_start|>",     "<|im_end|>",     "<|object_ref_start|>", "<|object_ref_end|>",
    "<|box_start|>",    "<|box_end|>",    "<|quad_start|>",       "<|quad_end|>",
    "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",       "<|image_pad|>",
    "<|video_pad|>"};

class ByteTokenizer final : public llm::Tokenizer {
 public:
  explicit ByteTokenizer(std::int64_t vocab_size)
      : vocab_size_(vocab_size),
        first_special_(static_cast<llm::TokenId>(
            std::min<std::int64_t>(kQwenImStart, vocab_size - std::ssize(kSpecials)))) {}

  std::vector<llm::TokenId> encode(std::string_view text) const override {
    std::vector<llm::TokenId> out;
    for (const char c : text) out.push_back(static_cast<unsigned char>(c));
    return out;
  }
  std::vector<llm::TokenId> encode_with_specials(std::string_view text) const override {
    return encode(text);
  }
  std::optional<llm::TokenId> special_id(std::string_view content) const override {
    const auto* const it = std::find(kSpecials.begin(), kSpecials.end(), content);
    if (it == kSpecials.end()) return std::nullopt;
    return first_special_ + static_cast<llm::TokenId>(it - kSpecials.begin());
  }
  bool is_special(llm::TokenId id) const override {
    return id >= first_special_ && id < first_special_ + std::ssize(kSpecials);
  }
  std::string token_bytes(llm::TokenId id) const override {
    if (!has_token(id)) {
      throw_error(ErrorCode::kInvalidArgument, "token id {} is outside the vocabulary of {}", id,
                  vocab_size_);
    }
    if (is_special(id)) {
      return std::string(kSpecials[static_cast<std::size_t>(id - first_special_)]);
    }
    return std::string(1, static_cast<char>(id < 256 ? id : 'a' + id % 26));
  }
  std::string decode(std::span<const llm::TokenId> ids, bool skip) const override {
    std::string out;
    for (const llm::TokenId id : ids) {
      if (has_token(id) && !(skip && is_special(id))) out += token_bytes(id);
    }
    return out;
  }
  std::int64_t vocab_size() const override { return vocab_size_; }

 private:
  std::int64_t vocab_size_;
  llm::TokenId first_special_;
};

}  // namespace

std::unique_ptr<const llm::Tokenizer> make_byte_tokenizer(std::int64_t vocab_size) {
  return std::make_unique<ByteTokenizer>(vocab_size);
}

}  // namespace reelm::pipeline
