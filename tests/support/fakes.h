// Scripted stand-ins for a tokenizer, a vision tower and a decoder: pipeline logic without a model.
#pragma once

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "llm/decoder.h"
#include "llm/tokenizer.h"
#include "pipeline/model.h"
#include "vision/encoder.h"

namespace reelm::testing {

/// One token a byte (ids 0 to 255), specials behind them.
class FakeTokenizer : public llm::Tokenizer {
 public:
  static constexpr llm::TokenId kImStart = 256, kImEnd = 257, kVisionStart = 258, kVisionEnd = 259,
                                kImagePad = 260, kVideoPad = 261, kVocabulary = 262;

  std::vector<llm::TokenId> encode(std::string_view text) const override {
    std::vector<llm::TokenId> out;
    for (const char c : text) out.push_back(static_cast<unsigned char>(c));
    return out;
  }
  std::vector<llm::TokenId> encode_with_specials(std::string_view text) const override {
    return encode(text);
  }
  std::optional<llm::TokenId> special_id(std::string_view content) const override {
    static const std::map<std::string_view, llm::TokenId> ids = {
        {"<|im_start|>", kImStart},         {"<|im_end|>", kImEnd},
        {"<|vision_start|>", kVisionStart}, {"<|vision_end|>", kVisionEnd},
        {"<|image_pad|>", kImagePad},       {"<|video_pad|>", kVideoPad}};
    const auto it = ids.find(content);
    return it == ids.end() ? std::nullopt : std::optional(it->second);
  }
  bool is_special(llm::TokenId id) const override { return id >= 256; }
  std::string token_bytes(llm::TokenId id) const override {
    return id < 256 ? std::string(1, static_cast<char>(id)) : "<special>";
  }
  std::string decode(std::span<const llm::TokenId> ids, bool skip) const override {
    std::string out;
    for (const llm::TokenId id : ids) {
      if (!skip || !is_special(id)) out += token_bytes(id);
    }
    return out;
  }
  std::int64_t vocab_size() const override { return kVocabulary; }
};

/// Row r of the k-th call is filled with k.
class FakeEncoder final : public vision::VisionEncoder {
 public:
  std::unique_ptr<vision::VisionEncoder> replica() const override {
    return std::make_unique<FakeEncoder>(*this);
  }
  std::int64_t patch_dim() const override { return 1176; }
  std::int64_t hidden_size() const override { return 4; }
  std::int64_t spatial_merge_size() const override { return 2; }
  void encode(const PatchBatch& patches, TensorView<float> out,
              const CancelToken* cancel) override {
    if (cancel != nullptr) cancel->check();
    if (fail_at == calls) throw Error(ErrorCode::kOutOfMemory, "scripted failure");
    slices.push_back(patches.grid_thw);
    std::fill_n(out.data(), out.numel(), static_cast<float>(calls++));
  }
  std::size_t weight_bytes() const override { return 0; }
  std::size_t workspace_bytes(std::int64_t, std::int64_t) const override { return 0; }

  int calls = 0;
  int fail_at = -1;
  std::vector<GridThw> slices;
};

/// Says the tokens of `script`, whatever it is asked, the rows of a batch in turn; remembers what
/// it was given.
class FakeDecoder final : public llm::Decoder {
 public:
  /// With a copy of the script.
  std::unique_ptr<llm::Decoder> replica() const override {
    return std::make_unique<FakeDecoder>(*this);
  }
  std::int64_t vocab_size() const override { return FakeTokenizer::kVocabulary; }
  std::int64_t hidden_size() const override { return 4; }
  std::int64_t max_position_embeddings() const override { return context; }
  llm::KvCache::Shape kv_shape() const override { return {1, 1, 2}; }
  llm::KvType kv_type() const override { return llm::KvType::kF32; }
  void prefill(const llm::PromptInput& input, llm::KvCache& cache, TensorView<float> logits,
               const CancelToken* cancel) override {
    if (cancel != nullptr) cancel->check();
    prompts.emplace_back(input.ids.begin(), input.ids.end());
    first_positions.push_back(input.position_ids.row(0)[0]);
    if (!input.vision_embeds.empty()) {
      vision.insert(vision.end(), input.vision_embeds.data(),
                    input.vision_embeds.data() + input.vision_embeds.numel());
    }
    fill(cache, static_cast<std::int64_t>(input.ids.size()));
    if (!logits.empty()) speak(logits);
  }
  bool goes_on(const llm::KvCache& cache, std::int64_t length) const override {
    return cache.length() == 0 || length < begins_again_at;
  }
  std::int64_t prefill_rows() const override { return piece_rows; }
  void step_batch(std::span<const llm::BatchRow> rows, TensorView<float> logits) override {
    batches.push_back(rows.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
      steps.emplace_back(rows[i].token, rows[i].position);
      fill(*rows[i].cache, 1);
      speak({logits.row(static_cast<std::int64_t>(i)), {vocab_size()}});
    }
  }
  std::size_t weight_bytes() const override { return weights; }
  std::size_t workspace_bytes() const override { return 0; }

  std::size_t weights = 0;
  std::int64_t context = 4096;
  std::int64_t begins_again_at = 1 << 20;
  std::int64_t piece_rows = 4096;  // prompts of tests come in one piece
  std::deque<llm::TokenId> script;
  std::vector<std::vector<llm::TokenId>> prompts;
  std::vector<std::int64_t> first_positions;
  std::vector<std::pair<llm::TokenId, std::int64_t>> steps;  // of all rows
  std::vector<std::size_t> batches;                          // rows of each step
  std::vector<float> vision;                                 // all rows of all prompts

 private:
  void fill(llm::KvCache& cache, std::int64_t n) {
    const std::vector<float> zeros(static_cast<std::size_t>(2 * n), 0.0f);
    const TensorView<const float> rows(zeros.data(), {n, 1, 2});
    cache.write(0, rows, rows);
    cache.advance(n);
  }
  void speak(TensorView<float> logits) {
    std::fill_n(logits.data(), logits.numel(), 0.0f);
    llm::TokenId next = FakeTokenizer::kImEnd;
    if (!script.empty()) {
      next = script.front();
      script.pop_front();
    }
    logits.data()[next] = 1.0f;
  }
};

/// A model of fakes; the pointers stay valid as long as the model.
struct FakeModel {
  FakeEncoder* vision;
  FakeDecoder* decoder;
  pipeline::Model model;

  FakeModel() {
    auto encoder = std::make_unique<FakeEncoder>();
    auto speaker = std::make_unique<FakeDecoder>();
    vision = encoder.get();
    decoder = speaker.get();
    model.model_type = "fake";
    model.tokenizer = std::make_unique<FakeTokenizer>();
    model.vision = std::move(encoder);
    model.decoder = std::move(speaker);
    model.generation.eos_token_id = {FakeTokenizer::kImEnd};
    model.tokens = {FakeTokenizer::kImStart,
                    FakeTokenizer::kImEnd,
                    FakeTokenizer::kVisionStart,
                    FakeTokenizer::kVisionEnd,
                    {FakeTokenizer::kImagePad, FakeTokenizer::kVideoPad}};
  }
  void say(std::string_view text, bool end = true) {
    for (const char c : text) decoder->script.push_back(static_cast<unsigned char>(c));
    if (end) decoder->script.push_back(FakeTokenizer::kImEnd);
  }
};

}  // namespace reelm::testing
