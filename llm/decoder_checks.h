// What every decoder refuses before it works. Not installed.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "llm/decoder.h"

namespace reelm::llm {

/// The checks that Decoder promises, for a vocabulary of `vocab_size`. All throw
/// Error{kInvalidArgument} naming what was found and expected, room() throws Error{kLimit}.
class DecoderChecks {
 public:
  explicit DecoderChecks(std::int64_t vocab_size) : vocab_size_(vocab_size) {}

  void id(TokenId id) const;
  /// Room for `found` logits of one position.
  void logits(std::int64_t found) const;
  /// That there are tokens, of the vocabulary, and positions [3, n] for them.
  void prompt(const PromptInput& input) const;
  /// Rows of step_batch(), 1 to `most`, and their logits.
  void batch(std::span<const BatchRow> rows, TensorView<float> logits, std::int64_t most) const;
  /// Room in the cache for n more positions; a row of a batch of several is named.
  static void room(std::int64_t n, const KvCache& cache,
                   std::optional<std::size_t> batch_row = std::nullopt);

 private:
  std::int64_t vocab_size_;
};

}  // namespace reelm::llm
