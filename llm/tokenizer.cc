#include "llm/tokenizer.h"

#include <algorithm>

#include "core/throw.h"
#include "core/timeline.h"
#include "llm/chatglm/tokenizer.h"
#include "llm/chatglm2/version.h"
#include "llm/tokenizer_files.h"
#include "llm/tokenizer_sentencepiece.h"
#include "llm/tokenizer_tiktoken.h"
#include "llm/tokenizer_unicode.h"

namespace reelm::llm {

namespace {

/// tokenizer.model, else the only *.model; empty when there is none.
std::filesystem::path find_sentencepiece(const ModelFiles& files) {
  if (files.made()) return {};
  const std::filesystem::path& model_dir = files.path();
  if (files.has("tokenizer.model")) return model_dir / "tokenizer.model";
  std::vector<std::filesystem::path> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(model_dir, ignored)) {
    if (entry.path().extension() == ".model") found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  if (found.size() > 1) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: several SentencePiece models ({}, {}, ...): name one tokenizer.model",
                model_dir.string(), found[0].filename().string(), found[1].filename().string());
  }
  return found.empty() ? std::filesystem::path() : found[0];
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special_tokens)
    : tokenizer_(&tokenizer), skip_special_tokens_(skip_special_tokens) {}

std::string StreamDecoder::push(TokenId id) {
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return "";
  // Ids without a token say nothing, as in decode.
  if (!tokenizer_->has_token(id)) return "";
  pending_ += tokenizer_->token_bytes(id);
  if (!begun_ && !pending_.empty()) {
    if (pending_[0] == ' ' && tokenizer_->drops_first_space(id)) pending_.erase(0, 1);
    begun_ = true;
  }
  const std::size_t whole = pending_.size() - utf8_incomplete_tail(pending_);
  std::string out = utf8_lossy(std::string_view(pending_).substr(0, whole));
  pending_.erase(0, whole);
  return out;
}

std::string StreamDecoder::finish() {
  std::string out = utf8_lossy(pending_);
  pending_.clear();
  begun_ = false;
  return out;
}

std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files, const Limits& limits) {
  const TimelineSpan span("tokenizer", SpanKind::kStage);
  const bool has_vocab = files.has("vocab.json");
  const bool has_merges = files.has("merges.txt");
  if (files.has("tokenizer.json") || (has_vocab && has_merges)) {
    BpeData data = files.has("tokenizer.json") ? read_tokenizer_json(files, limits)
                                               : read_vocab_and_merges(files, limits);
    add_config_tokens(files, limits, data);
    return make_bpe_tokenizer(data);
  }
  if (files.has(kTiktokenFile)) return make_bpe_tokenizer(read_tiktoken(files, limits));
  if (files.has(chatglm::kTokenizerFile)) return chatglm::load_tokenizer(files, limits);
  if (const auto path = find_sentencepiece(files); !path.empty()) {
    const auto chatglm = chatglm2::find_version(files, limits);
    return load_sentencepiece(
        path, limits, chatglm ? chatglm2::special_tokens(*chatglm) : std::vector<std::string>());
  }
  if (has_vocab != has_merges) {
    throw_error(ErrorCode::kNotFound, "{}: {} is there, but not {}", files.path().string(),
                has_vocab ? "vocab.json" : "merges.txt", has_vocab ? "merges.txt" : "vocab.json");
  }
  throw_error(ErrorCode::kNotFound,
              "{}: no tokenizer: looked for tokenizer.json, vocab.json with merges.txt, "
              "qwen.tiktoken, ice_text.model, tokenizer.model and *.model",
              files.path().string());
}

}  // namespace reelm::llm
