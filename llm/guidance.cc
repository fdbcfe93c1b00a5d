#include "llm/guidance.h"

#include <algorithm>
#include <cmath>

#include "core/error.h"

namespace reelm::llm {

namespace {

/// What log-softmax subtracts.
float log_sum_exp(std::span<const float> logits) {
  const float top = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += static_cast<double>(std::exp(logit - top));
  return top + static_cast<float>(std::log(sum));
}

}  // namespace

void apply_guidance(std::span<float> logits, std::span<const float> unconditional, double scale) {
  REELM_CHECK(!logits.empty() && logits.size() == unconditional.size());
  const float sum_c = log_sum_exp(logits), sum_u = log_sum_exp(unconditional);
  const auto factor = static_cast<float>(scale);
  for (std::size_t i = 0; i < logits.size(); ++i) {
    const float c = logits[i] - sum_c, u = unconditional[i] - sum_u;
    logits[i] = factor * (c - u) + u;
  }
}

}  // namespace reelm::llm
