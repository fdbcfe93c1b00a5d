#include "pipeline/prompt_prefill.h"

#include <algorithm>

namespace reelm::pipeline {

std::int64_t PromptPrefill::rows_held(const Model& model, const Request& request,
                                      const PlannedTurn& turn) {
  if (request.observer != nullptr) return turn.vision_tokens;
  std::int64_t slice = 0;
  for (const PlannedMedium& medium : turn.media) {
    slice = std::max(slice, medium.plan.n_vision_tokens / medium.plan.n_slices());
  }
  // A piece is taken in as soon as it is complete, so less than one waits for the next slice.
  return std::min(turn.vision_tokens, model.decoder->prefill_rows() - 1 + slice);
}

std::int64_t PromptPrefill::row_size(const Model& model) {
  return model.vision == nullptr ? model.decoder->hidden_size() : model.vision->row_size();
}

PromptPrefill::PromptPrefill(Model& model, const Request& request, const PlannedTurn& turn,
                             llm::KvCache& cache)
    : model_(model),
      request_(request),
      turn_(turn),
      cache_(cache),
      keep_(request.observer != nullptr),
      row_size_(row_size(model)),
      rows_(static_cast<std::size_t>(rows_held(model, request, turn) * row_size_)) {}

bool PromptPrefill::is_vision(std::int64_t token) const {
  const llm::TokenId id = turn_.ids[static_cast<std::size_t>(token)];
  return id == model_.tokens.placeholders.image || id == model_.tokens.placeholders.video;
}

TensorView<float> PromptPrefill::reserve(std::int64_t rows) {
  REELM_CHECK(static_cast<std::size_t>((filled_ + rows) * row_size_) <= rows_.size());
  reserved_ = rows;
  return {rows_.data() + filled_ * row_size_, {rows, row_size_}};
}

void PromptPrefill::add() {
  const auto n = static_cast<std::int64_t>(turn_.ids.size());
  filled_ += reserved_;
  for (std::int64_t unused = reserved_; known_ < n; ++known_) {
    if (is_vision(known_) && unused-- == 0) break;
  }
  reserved_ = 0;
  // The last piece is finish()'s, which wants logits of it.
  const std::int64_t rows = model_.decoder->prefill_rows();
  const std::int64_t end = std::min(known_, n - 1) / rows * rows;
  if (end > prefilled_) piece(end, {});
}

void PromptPrefill::finish(TensorView<float> logits) {
  const auto n = static_cast<std::int64_t>(turn_.ids.size());
  if (request_.observer != nullptr) {
    request_.observer->on_vision_embeds({rows_.data(), {filled_, row_size_}});
    request_.observer->on_prompt(turn_.ids, {turn_.positions.ids.data(), {3, n}},
                                 turn_.positions.rope_delta);
  }
  piece(n, logits);
}

void PromptPrefill::piece(std::int64_t end, TensorView<float> logits) {
  TraceSpan span("prefill", SpanKind::kStage, {"tokens", end - prefilled_});
  const auto n = static_cast<std::int64_t>(turn_.ids.size());
  const std::int64_t rows = end - prefilled_;
  std::int64_t vision = 0;
  for (std::int64_t i = prefilled_; i < end; ++i) vision += is_vision(i) ? 1 : 0;
  REELM_CHECK(first_ + vision <= filled_);
  if (request_.on_progress) request_.on_progress({"prefill", prefilled_, n});
  model_.decoder->prefill({std::span(turn_.ids).subspan(static_cast<std::size_t>(prefilled_),
                                                        static_cast<std::size_t>(rows)),
                           {turn_.positions.ids.data() + prefilled_, {3, rows}, {n, 1}},
                           {rows_.data() + first_ * row_size_, {vision, row_size_}},
                           n},
                          cache_, logits, request_.cancel);
  prefilled_ = end;
  if (request_.on_progress) request_.on_progress({"prefill", prefilled_, n});
  first_ += vision;
  if (keep_ || first_ == 0) return;
  std::copy(rows_.data() + first_ * row_size_, rows_.data() + filled_ * row_size_, rows_.data());
  filled_ -= first_;
  first_ = 0;
}

}  // namespace reelm::pipeline
