// Takes a turn's prompt into the cache piece by piece, as vision rows become known. Not installed.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "pipeline/turn.h"

namespace reelm::pipeline {

/// Prefills a prompt whose vision rows come slice by slice. Pieces end at multiples of
/// Decoder::prefill_rows(), where one call for the whole prompt would pause as well: so logits are
/// bitwise those of one call, whenever slices come. Rows that a piece has used are dropped, unless
/// an observer wants to see all of them.
class PromptPrefill {
 public:
  /// All of them outlive the object; `cache` has room for the prompt. Throws Error{kOutOfMemory}.
  PromptPrefill(Model& model, const Request& request, const PlannedTurn& turn, llm::KvCache& cache);

  /// Where the next `rows` vision rows go: [rows, row_size()], valid until add().
  TensorView<float> reserve(std::int64_t rows);
  /// The rows reserved are written: prefills the whole pieces that are complete now. Throws as
  /// Decoder::prefill; the cache then holds the pieces before.
  void add();
  /// All rows are there: prefills the rest; `logits` [vocab_size] of the last position. Throws as
  /// add().
  void finish(TensorView<float> logits);

  /// Values of a vision row: VisionEncoder::row_size().
  static std::int64_t row_size(const Model& model);
  /// Vision rows held at most during a turn.
  static std::int64_t rows_held(const Model& model, const Request& request,
                                const PlannedTurn& turn);

 private:
  /// Prefills up to token `end`; logits unless the view is empty.
  void piece(std::int64_t end, TensorView<float> logits);
  bool is_vision(std::int64_t token) const;

  Model& model_;
  const Request& request_;
  const PlannedTurn& turn_;
  llm::KvCache& cache_;
  const bool keep_;  // rows of pieces already taken in
  const std::int64_t row_size_;
  AlignedBuffer<float> rows_;   // [capacity, row_size]
  std::int64_t first_ = 0;      // row of the first vision token not prefilled
  std::int64_t filled_ = 0;     // rows written
  std::int64_t reserved_ = 0;   // rows reserved behind them
  std::int64_t prefilled_ = 0;  // tokens in the cache
  std::int64_t known_ = 0;      // tokens before the first whose vision row is missing
};

}  // namespace reelm::pipeline
