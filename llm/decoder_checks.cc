#include "llm/decoder_checks.h"

#include "core/throw.h"

namespace reelm::llm {

void DecoderChecks::id(TokenId id) const {
  if (id < 0 || id >= vocab_size_) {
    throw_error(ErrorCode::kInvalidArgument, "token id {} is outside the vocabulary of {}", id,
                vocab_size_);
  }
}

void DecoderChecks::logits(std::int64_t found) const {
  if (found != vocab_size_) {
    throw_error(ErrorCode::kInvalidArgument, "logits have room for {}, expected {}", found,
                vocab_size_);
  }
}

void DecoderChecks::prompt(const PromptInput& input) const {
  const auto n = static_cast<std::int64_t>(input.ids.size());
  if (n == 0) throw Error(ErrorCode::kInvalidArgument, "the prompt has no tokens");
  if (input.position_ids.rank() != 2 || input.position_ids.size(0) != 3 ||
      input.position_ids.size(1) != n) {
    throw_error(ErrorCode::kInvalidArgument, "position_ids must be 3x{} for {} tokens", n, n);
  }
  for (const TokenId each : input.ids) id(each);
}

void DecoderChecks::batch(std::span<const BatchRow> rows, TensorView<float> out,
                          std::int64_t most) const {
  const auto n = static_cast<std::int64_t>(rows.size());
  if (n < 1 || n > most) {
    throw_error(ErrorCode::kInvalidArgument, "the batch has {} rows, expected 1 to {}", n, most);
  }
  if (out.rank() != 2 || out.size(0) != n) {
    throw_error(ErrorCode::kInvalidArgument, "logits must be {}x{} for a batch of {}", n,
                vocab_size_, n);
  }
  logits(out.size(1));
  for (std::size_t i = 0; i < rows.size(); ++i) {
    id(rows[i].token);
    REELM_CHECK(rows[i].cache != nullptr);
    for (std::size_t j = 0; j < i; ++j) {
      if (rows[i].cache == rows[j].cache) {
        throw_error(ErrorCode::kInvalidArgument,
                    "rows {} and {} of the batch share a KV cache, expected one each", j, i);
      }
    }
    room(1, *rows[i].cache, n > 1 ? std::optional(i) : std::nullopt);
  }
}

void DecoderChecks::room(std::int64_t n, const KvCache& cache,
                         std::optional<std::size_t> batch_row) {
  if (n <= cache.capacity() - cache.length()) return;
  throw_error(ErrorCode::kLimit,
              "{}the KV cache is full: {} positions of {} are filled, {} more came",
              batch_row ? fmt::format("row {} of the batch: ", *batch_row) : "", cache.length(),
              cache.capacity(), n);
}

}  // namespace reelm::llm
