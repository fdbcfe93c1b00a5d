// How well a decoder foretells a text: what quantised weights cost, in one number.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "../core/cancel.h"
#include "model.h"

namespace reelm::pipeline {

struct PerplexityOptions {
  /// Tokens of one window. Windows do not overlap; the first token of each is given, not scored.
  std::int64_t context = 512;
  std::optional<llm::KvType> kv_dtype;  ///< of cached keys and values; else what suits the weights
  const CancelToken* cancel = nullptr;
  /// Called after each token with those done and those in all.
  std::function<void(std::int64_t, std::int64_t)> on_progress;
};

struct PerplexityReport {
  std::int64_t tokens = 0;               ///< of the text
  std::int64_t scored = 0;               ///< tokens that were foretold
  double negative_log_likelihood = 0.0;  ///< mean, in nats a token
  double perplexity = 0.0;               ///< exp of it
  double top1 = 0.0;                     ///< share of tokens that were the likeliest
};

/// The perplexity of `text`: one decode step a token, so that it measures decoding as answers run
/// it. Throws Error: kInvalidArgument (fewer than two tokens; context below 2 or above
/// max_position_embeddings), kCancelled, and what the decoder throws. Source: the fixed-length
/// perplexity of transformers' documentation with stride = context.
PerplexityReport perplexity(Model& model, const std::string& text,
                            const PerplexityOptions& options = {});

}  // namespace reelm::pipeline
