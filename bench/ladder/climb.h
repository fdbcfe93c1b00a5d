// Climbing the ladder: the same tokens through every rung, in turns.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bench/ladder/rungs.h"
#include "bench/ladder/work.h"

namespace reelm::bench {

/// One rung's turn.
struct RungRun {
  double prompt_ms = 0.0;       ///< all slices encoded, the prompt prefilled
  double decode_ms = 0.0;       ///< all new tokens
  AlignedBuffer<float> logits;  ///< [1 + new_tokens, vocab_size]
};

/// Runs a rung once. `tokens` [new_tokens] are fed one after the other, whatever the logits say;
/// where there are none yet, the largest logits choose them.
RungRun run_rung(RungModel& rung, const pipeline::Model& model, const LadderWork& work,
                 std::vector<llm::TokenId>& tokens);

/// max |a - b| / max |a| over all logits, a those of the first; NaN where either has one.
double max_relative_difference(const AlignedBuffer<float>& a, const AlignedBuffer<float>& b);

/// A line of the table: medians over the turns.
struct LadderRow {
  int rung = 0;
  double prompt_ms = 0.0;
  double token_ms = 0.0;         ///< decoding, a token
  double least_prompt_ms = 0.0;  ///< of the fastest turn: on a busy machine the truer number
  double least_token_ms = 0.0;
  std::optional<double> gain;  ///< time of the rung before / of this one, prompt and new tokens;
                               ///< of a turn, then the median; not of the first rung
  double max_relative_difference = 0.0;  ///< of the logits, to the first rung's; over all turns
};

/// A rung's turn is over.
struct LadderProgress {
  int rung = 0;
  int turn = 0;
  double prompt_ms = 0.0;
  double token_ms = 0.0;
};

/// Runs the rungs from `first_rung` on one after the other, `repeat` times; hands on a row as soon
/// as its last turn is over. The first run of the first rung chooses the tokens.
void climb(LadderModel& ladder, const LadderWork& work, int first_rung, int repeat,
           const std::function<void(const LadderProgress&)>& on_run,
           const std::function<void(const LadderRow&)>& on_row);

}  // namespace reelm::bench
