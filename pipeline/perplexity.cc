#include "pipeline/perplexity.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/throw.h"
#include "core/timeline.h"

namespace reelm::pipeline {

namespace {

/// -log of the probability that the softmax of `logits` gives to `token`.
double surprise(std::span<const float> logits, llm::TokenId token) {
  const double top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(static_cast<double>(logit) - top);
  return std::log(sum) + top - static_cast<double>(logits[static_cast<std::size_t>(token)]);
}

}  // namespace

PerplexityReport perplexity(Model& model, const std::string& text,
                            const PerplexityOptions& options) {
  llm::Decoder& decoder = *model.decoder;
  const std::vector<llm::TokenId> ids = model.tokenizer->encode(text);
  const auto n = static_cast<std::int64_t>(ids.size());
  if (n < 2) {
    throw_error(ErrorCode::kInvalidArgument, "the text has {} tokens, expected 2 or more", n);
  }
  if (options.context < 2 || options.context > decoder.max_position_embeddings()) {
    throw_error(ErrorCode::kInvalidArgument,
                "the context is {}, expected 2 to max_position_embeddings {}", options.context,
                decoder.max_position_embeddings());
  }
  const std::int64_t window = std::min(options.context, n);
  llm::KvCache cache(decoder.kv_shape(), options.kv_dtype.value_or(decoder.kv_type()), window);
  AlignedBuffer<float> storage(static_cast<std::size_t>(decoder.vocab_size()));
  const TensorView<float> logits(storage.data(), {decoder.vocab_size()});
  const std::span<const float> values(storage.data(), storage.size());
  PerplexityReport report;
  report.tokens = n;
  std::int64_t right = 0;
  double total = 0.0;
  for (std::int64_t i = 0; i + 1 < n; ++i) {
    if (options.cancel != nullptr) options.cancel->check();
    const std::int64_t position = i % window;
    if (position + 1 == window) continue;  // the next token begins a window
    if (position == 0) cache.truncate(0);
    const TimelineSpan span("decode_tokens", SpanKind::kStage, {"token", i});
    decoder.step(ids[static_cast<std::size_t>(i)], position, cache, logits);
    model.check_intact();
    const llm::TokenId next = ids[static_cast<std::size_t>(i + 1)];
    total += surprise(values, next);
    const auto best = std::max_element(values.begin(), values.end()) - values.begin();
    if (best == next) ++right;
    ++report.scored;
    if (options.on_progress) options.on_progress(i + 1, n);
  }
  report.negative_log_likelihood = total / static_cast<double>(report.scored);
  report.perplexity = std::exp(report.negative_log_likelihood);
  report.top1 = static_cast<double>(right) / static_cast<double>(report.scored);
  return report;
}

}  // namespace reelm::pipeline
