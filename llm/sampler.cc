#include "llm/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/throw.h"

namespace reelm::llm {

void validate(const SamplingConfig& c) {
  const auto require = [](bool ok, const char* name, double value, const char* expected) {
    if (!ok) {
      throw_error(ErrorCode::kInvalidArgument, "{} is {}, expected {}", name, value, expected);
    }
  };
  if (c.do_sample) {
    require(std::isfinite(c.temperature) && c.temperature > 0.0, "temperature", c.temperature,
            "a number above 0");
  }
  require(c.top_k >= 0, "top-k", static_cast<double>(c.top_k), "0 (off) or more");
  require(c.top_p > 0.0 && c.top_p <= 1.0, "top-p", c.top_p, "above 0 and up to 1");
  require(std::isfinite(c.repetition_penalty) && c.repetition_penalty > 0.0, "repetition-penalty",
          c.repetition_penalty, "a number above 0");
}

Sampler::Sampler(const SamplingConfig& config, std::int64_t vocab_size)
    : config_(config), seen_(static_cast<std::size_t>(vocab_size), 0), random_(config.seed) {
  validate(config);
  order_.reserve(seen_.size());
}

void Sampler::see(std::span<const TokenId> ids) {
  for (const TokenId id : ids) {
    if (id >= 0 && static_cast<std::size_t>(id) < seen_.size())
      seen_[static_cast<std::size_t>(id)] = 1;
  }
}

TokenId Sampler::sample(std::span<float> logits) {
  REELM_CHECK(logits.size() == seen_.size() && !logits.empty());
  for (const float logit : logits) {
    if (std::isnan(logit)) {
      throw Error(ErrorCode::kFormat,
                  "the model gave logits that are not numbers: its weights are damaged");
    }
  }
  if (config_.repetition_penalty != 1.0) {
    const auto penalty = static_cast<float>(config_.repetition_penalty);
    for (std::size_t i = 0; i < logits.size(); ++i) {
      if (seen_[i] != 0) logits[i] = logits[i] < 0.0f ? logits[i] * penalty : logits[i] / penalty;
    }
  }
  const TokenId token =
      config_.do_sample
          ? draw(logits)
          : static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  seen_[static_cast<std::size_t>(token)] = 1;
  return token;
}

TokenId Sampler::draw(std::span<float> logits) {
  const auto temperature = static_cast<float>(config_.temperature);
  for (float& logit : logits) logit /= temperature;

  // Candidates, best first; equal logits by id, so that the order is the same everywhere.
  order_.resize(logits.size());
  std::iota(order_.begin(), order_.end(), 0);
  const auto better = [&](TokenId a, TokenId b) {
    const float la = logits[static_cast<std::size_t>(a)];
    const float lb = logits[static_cast<std::size_t>(b)];
    return la != lb ? la > lb : a < b;
  };
  std::size_t keep = order_.size();
  if (config_.top_k > 0) keep = std::min(keep, static_cast<std::size_t>(config_.top_k));
  std::partial_sort(order_.begin(), order_.begin() + static_cast<std::ptrdiff_t>(keep),
                    order_.end(), better);
  // TopKLogitsWarper keeps all that tie with the last one kept; the sort has them next in line.
  if (keep < order_.size()) {
    const float last = logits[static_cast<std::size_t>(order_[keep - 1])];
    const auto ties =
        std::partition(order_.begin() + static_cast<std::ptrdiff_t>(keep), order_.end(),
                       [&](TokenId id) { return logits[static_cast<std::size_t>(id)] == last; });
    std::sort(order_.begin() + static_cast<std::ptrdiff_t>(keep), ties);
    keep = static_cast<std::size_t>(ties - order_.begin());
  }

  const float largest = logits[static_cast<std::size_t>(order_[0])];
  if (!std::isfinite(largest)) return order_[0];
  std::vector<double> weights(keep);
  double total = 0.0;
  for (std::size_t i = 0; i < keep; ++i) {
    weights[i] = std::exp(static_cast<double>(logits[static_cast<std::size_t>(order_[i])]) -
                          static_cast<double>(largest));
    total += weights[i];
  }
  // TopPLogitsWarper drops the tail whose probabilities sum to at most 1 - top_p; one stays.
  if (config_.top_p < 1.0) {
    double tail = 0.0;
    while (keep > 1) {
      tail += weights[keep - 1] / total;
      if (tail > 1.0 - config_.top_p) break;
      --keep;
    }
    total =
        std::accumulate(weights.begin(), weights.begin() + static_cast<std::ptrdiff_t>(keep), 0.0);
  }
  // 53 random bits: std::uniform_real_distribution differs between standard libraries.
  double u = static_cast<double>(random_() >> 11) * 0x1.0p-53 * total;
  for (std::size_t i = 0; i + 1 < keep; ++i) {
    u -= weights[i];
    if (u < 0.0) return order_[i];
  }
  return order_[keep - 1];
}

}  // namespace reelm::llm
