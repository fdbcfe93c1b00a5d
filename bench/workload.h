// What is measured: a model, a medium or a grid, a prompt; and the measuring of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bench/costs.h"
#include "core/aligned_buffer.h"
#include "core/limits.h"
#include "core/trace.h"
#include "llm/mrope.h"
#include "pipeline/model.h"
#include "pipeline/synthetic.h"

namespace reelm::bench {

struct Workload {
  std::string media;                          ///< a file; empty: `grid` instead
  GridThw grid = {1, 26, 46};                 ///< patches of made-up pixels
  std::optional<std::int64_t> prompt_tokens;  ///< in all, vision included
  std::int64_t new_tokens = 32;
  int repeat = 3;
  std::optional<llm::KvType> kv_dtype;  ///< else what suits the weights
};

/// Milliseconds of one stage, one number a run.
struct Samples {
  std::string stage;
  std::vector<double> ms;
};

double median(std::vector<double> values);

/// Where the time of one token went, in milliseconds.
struct TokenTimes {
  double input_generate = 0.0;  ///< ids and positions made: of the prompt, then of the token before
  double model = 0.0;           ///< the decoder: the prompt, then one step
  double sampling = 0.0;
  double token = 0.0;  ///< by the clock, from the first of these to the end of the last
};

/// One run, token by token.
struct PerToken {
  double session_preprocess_ms = 0.0;  ///< media read and encoded: all before the first token
  std::vector<TokenTimes> tokens;      ///< the first has the prompt in it
};

/// n text tokens of a made-up prompt, each `salt` another.
std::vector<llm::TokenId> made_up_text(const pipeline::Model& model, std::int64_t n,
                                       std::int64_t salt = 0);

/// Made-up pixels of `n` values, normalised ones by their size.
AlignedBuffer<float> made_up_pixels(std::int64_t n);

/// Rows of the decoder that a grid gives. Throws Error{kInvalidArgument} when h or w is no multiple
/// of the model's spatial_merge_size, {kLimit}.
std::int64_t count_vision_tokens(const pipeline::Model& model, const GridThw& grid,
                                 const Limits& limits);
/// Length of a made-up prompt: as asked for, or a question's behind the vision tokens. Throws
/// Error{kInvalidArgument} as check_prompt_tokens.
std::int64_t choose_prompt_tokens(const pipeline::Model& model, const Workload& workload,
                                  std::int64_t vision_tokens);
/// Throws Error{kInvalidArgument} when a prompt of n tokens has no room for more than its vision
/// tokens, or the model none for it and the new tokens.
void check_prompt_tokens(const pipeline::Model& model, std::int64_t n, std::int64_t vision_tokens,
                         std::int64_t new_tokens);

/// Ids [n] and positions [3, n].
struct Prompt {
  std::vector<llm::TokenId> ids;
  llm::MropePositions positions;
};
/// n tokens: made-up text around the `vision_tokens` (may be 0) of one medium.
Prompt made_up_prompt(const pipeline::Model& model, std::int64_t n, const GridThw& grid,
                      std::int64_t vision_tokens, bool is_image);

/// What running a workload gave.
struct Measured {
  std::vector<Samples> stages;  ///< in the order of the costs; then what only was traced
  StageCosts costs;
  GridThw grid{};  ///< of the medium, or as asked for
  std::int64_t vision_tokens = 0;
  std::int64_t prompt_tokens = 0;
  std::vector<double> first_token_ms;  ///< one a run
  std::vector<double> end_to_end_ms;   ///< one a run
  PerToken per_token;                  ///< of the last run
  std::vector<std::string> warnings;
};

/// The memory that a benchmark may take, and what says so, for errors.
struct MemoryBound {
  std::int64_t bytes;
  const char* name;
};
/// What is available, or `limits.request_bytes` where that is less or nothing is known.
MemoryBound memory_bound(const Limits& limits);

/// Runs the workload `repeat` times. Stages of media and prompt give one number a run, decode_token
/// one a token. Throws Error as opening and reading media do, kInvalidArgument (a prompt shorter
/// than its vision tokens, or longer than the model takes), kLimit.
Measured run_workload(pipeline::Model& model, const pipeline::SyntheticSizes& sizes,
                      const Workload& workload, const Limits& limits);

}  // namespace reelm::bench
