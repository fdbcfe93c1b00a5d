// From logits to the next token.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "tokenizer.h"

namespace reelm::llm {

/// How to choose; the words and meanings of transformers' GenerationConfig.
struct SamplingConfig {
  bool do_sample = false;           ///< false: the largest logit
  double temperature = 1.0;         ///< > 0
  std::int64_t top_k = 50;          ///< 0: off
  double top_p = 1.0;               ///< in (0, 1]; 1: off
  double repetition_penalty = 1.0;  ///< > 0; applied to tokens of prompt and answer; 1: off
  std::uint64_t seed = 0;           ///< same seed, same logits: same tokens, on every machine
};

/// Throws Error{kInvalidArgument} naming the value that is out of range.
void validate(const SamplingConfig& config);

/// Applies transformers' processors in its order: repetition penalty, temperature, top-k, top-p.
class Sampler {
 public:
  /// `vocab_size` tokens; throws as validate.
  Sampler(const SamplingConfig& config, std::int64_t vocab_size);

  /// Tokens that the repetition penalty counts as seen: the prompt, then every chosen token.
  void see(std::span<const TokenId> ids);

  /// Chooses from logits [vocab_size], which are overwritten. NaN logits are a bug upstream and
  /// throw Error{kFormat}: a damaged model must not pass for an answer.
  TokenId sample(std::span<float> logits);

 private:
  TokenId draw(std::span<float> logits);

  SamplingConfig config_;
  std::vector<std::uint8_t> seen_;  // [vocab_size]
  std::vector<TokenId> order_;      // [vocab_size], scratch
  std::mt19937_64 random_;
};

}  // namespace reelm::llm
