// Where the tokens of an answer come from: one sequence, or two under guidance. Not installed.
#pragma once

#include <cstdint>
#include <span>

#include "core/aligned_buffer.h"
#include "pipeline/prompt_prefill.h"
#include "pipeline/turn.h"

namespace reelm::pipeline {

/// Logits of one token of an answer after the other. Under guidance they are those of two sequences
/// that are decoded as one batch, contrasted by llm::apply_guidance.
class AnswerLogits {
 public:
  /// All of them outlive the object; the caches have room for the turn. `position`: of M-RoPE, of
  /// the first token of the answer. Throws Error{kOutOfMemory}.
  AnswerLogits(Model& model, const Request& request, const PlannedTurn& turn,
               ConversationCaches& caches, std::int64_t position);

  /// Takes in what is left of the prompts: values() are those of the first token. Throws as
  /// Decoder::prefill.
  void begin(PromptPrefill& prefill);
  /// The answer goes on with `token`. Throws as Decoder::step_batch.
  void step(llm::TokenId token);

  /// [vocab_size]; whoever chooses a token may overwrite them.
  std::span<float> values();
  /// Of the next token.
  std::int64_t position() const noexcept { return position_; }

 private:
  TensorView<float> row(std::int64_t i);
  void prefill_unconditional();
  void guide();

  Model& model_;
  const Request& request_;
  const PlannedTurn& turn_;
  ConversationCaches& caches_;
  std::int64_t position_;
  std::int64_t token_ = 0;  // of the answer
  const std::int64_t sequences_;
  AlignedBuffer<float> storage_;  // [sequences, vocab_size]
};

}  // namespace reelm::pipeline
