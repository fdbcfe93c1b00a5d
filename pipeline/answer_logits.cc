#include "pipeline/answer_logits.h"

#include <array>
#include <vector>

#include "core/trace.h"
#include "llm/guidance.h"

namespace reelm::pipeline {

AnswerLogits::AnswerLogits(Model& model, const Request& request, const PlannedTurn& turn,
                           ConversationCaches& caches, std::int64_t position)
    : model_(model),
      request_(request),
      turn_(turn),
      caches_(caches),
      position_(position),
      sequences_(turn.guided ? 2 : 1),
      storage_(static_cast<std::size_t>(sequences_ * model.decoder->vocab_size())) {}

TensorView<float> AnswerLogits::row(std::int64_t i) {
  const std::int64_t vocabulary = model_.decoder->vocab_size();
  return {storage_.data() + i * vocabulary, {vocabulary}};
}

std::span<float> AnswerLogits::values() {
  return {storage_.data(), static_cast<std::size_t>(model_.decoder->vocab_size())};
}

void AnswerLogits::begin(PromptPrefill& prefill) {
  prefill.finish(row(0));
  if (turn_.guided) {
    prefill_unconditional();
    guide();
  }
}

void AnswerLogits::prefill_unconditional() {
  TraceSpan span("prefill", SpanKind::kStage);
  const std::vector<llm::TokenId>& ids = turn_.unconditional_ids;
  const auto n = static_cast<std::int64_t>(ids.size());
  const llm::MropePositions positions =
      llm::mrope_positions(ids, {}, 1, model_.tokens.placeholders, caches_.unconditional_length());
  model_.decoder->prefill({ids, {positions.ids.data(), {3, n}}, {}}, *caches_.unconditional, row(1),
                          request_.cancel);
}

void AnswerLogits::step(llm::TokenId token) {
  {
    TraceSpan span("decode_tokens", SpanKind::kStage, {"token", token_++});
    const std::array<llm::BatchRow, 2> rows = {
        {{token, position_++, caches_.main.get()},
         {token, caches_.unconditional_length(), caches_.unconditional.get()}}};
    model_.decoder->step_batch(std::span(rows).first(static_cast<std::size_t>(sequences_)),
                               {storage_.data(), {sequences_, model_.decoder->vocab_size()}});
  }
  if (turn_.guided) guide();
}

void AnswerLogits::guide() {
  TraceSpan span("sampling", SpanKind::kStage, {"token", token_});
  const std::span<float> both(storage_.data(), storage_.size());
  llm::apply_guidance(values(), both.subspan(values().size()), *request_.generation.guidance_scale);
}

}  // namespace reelm::pipeline
