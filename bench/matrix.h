// The sweep over batch x input length x output length.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/limits.h"
#include "pipeline/model.h"

namespace reelm::bench {

/// What is swept: every combination.
struct Matrix {
  std::vector<std::int64_t> batches = {1, 2, 4, 8};  ///< sequences decoded together
  std::vector<std::int64_t> inputs = {32, 64, 128, 256, 512, 1024, 2048};  ///< tokens of a prompt
  std::vector<std::int64_t> outputs = {32, 64, 128, 256, 512, 1024};       ///< tokens of an answer
  int repeat = 3;                            ///< runs of a cell, of which the fastest counts
  std::optional<llm::KvType> kv_dtype = {};  ///< else what suits the weights
};

/// One combination and its times. Every sequence has a prompt and a cache of its own; prompts are
/// taken in one after the other, tokens are decoded in one pass over the weights for all.
struct MatrixCell {
  std::int64_t batch = 0;
  std::int64_t input = 0;
  std::int64_t output = 0;
  double first_token_ms = 0.0;  ///< until every sequence has its first token
  double response_ms = 0.0;     ///< until every sequence has its last

  /// Positions of a sequence's cache.
  std::int64_t max_seq_len() const { return input + output; }
  /// Of all sequences together, over the whole response.
  double tokens_per_second() const;
  /// A step of the whole batch, after the first tokens; 0 when there is no other.
  double time_per_token_ms() const;
};

/// "1,2,4": numbers from 1 to 1,000,000. Throws Error{kInvalidArgument} naming `flag`.
std::vector<std::int64_t> parse_list(const std::string& text, const std::string& flag);

/// Throws Error naming the first cell that cannot be: kInvalidArgument (longer than the model's
/// positions, more sequences than a step takes), kLimit (caches and activations over
/// limits.request_bytes or the memory available).
void check_matrix(const pipeline::Model& model, const Matrix& matrix, const Limits& limits);

/// Runs what check_matrix accepted and hands on the cells as they are done. The batches of an input
/// and output length take turns, so that they meet the same neighbours on the machine.
void run_matrix(pipeline::Model& model, const Matrix& matrix,
                const std::function<void(const MatrixCell&)>& on_cell);

/// "Batch,MaxSeqLen,...\n" and a line of it.
std::string matrix_csv_header();
std::string to_csv(const MatrixCell& cell);

}  // namespace reelm::bench
