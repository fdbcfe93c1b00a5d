#include "bench/matrix.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "bench/clock.h"
#include "bench/workload.h"
#include "core/checked.h"
#include "core/throw.h"
#include "llm/mrope.h"
#include "llm/sampler.h"

namespace reelm::bench {

namespace {

/// One sequence of a batch.
struct Sequence {
  std::vector<llm::TokenId> prompt;  // [input]
  llm::KvCache cache;
  llm::Sampler sampler;
};

std::vector<Sequence> make_sequences(const pipeline::Model& model, const Matrix& matrix,
                                     std::int64_t input, std::int64_t output) {
  const llm::Decoder& decoder = *model.decoder;
  const llm::KvType type = matrix.kv_dtype.value_or(decoder.kv_type());
  std::vector<Sequence> out;
  const std::int64_t most = *std::max_element(matrix.batches.begin(), matrix.batches.end());
  for (std::int64_t i = 0; i < most; ++i) {
    out.push_back({made_up_text(model, input, i),
                   llm::KvCache(decoder.kv_shape(), type, input + output),
                   llm::Sampler(model.generation.sampling, decoder.vocab_size())});
  }
  return out;
}

/// The first `cell.batch` sequences from nothing to their last token; fills in the times.
/// `positions` [3, input] are those of any prompt.
void run_cell(llm::Decoder& decoder, std::span<Sequence> sequences,
              TensorView<const std::int64_t> positions, MatrixCell& cell) {
  const std::int64_t vocabulary = decoder.vocab_size();
  const auto batch = static_cast<std::size_t>(cell.batch);
  AlignedBuffer<float> storage(batch * static_cast<std::size_t>(vocabulary));
  const TensorView<float> logits(storage.data(), {cell.batch, vocabulary});
  std::vector<llm::BatchRow> rows(batch);
  const auto sample = [&](std::size_t i) {
    const auto row = static_cast<std::int64_t>(i);
    rows[i].token =
        sequences[i].sampler.sample({logits.row(row), static_cast<std::size_t>(vocabulary)});
  };
  for (std::size_t i = 0; i < batch; ++i) {
    sequences[i].cache.truncate(0);
    rows[i].cache = &sequences[i].cache;
  }
  const auto begin = Clock::now();
  for (std::size_t i = 0; i < batch; ++i) {
    Sequence& s = sequences[i];
    decoder.prefill({s.prompt, positions, {}}, s.cache,
                    {logits.row(static_cast<std::int64_t>(i)), {vocabulary}}, nullptr);
    sample(i);
  }
  cell.first_token_ms = ms_since(begin);
  for (std::int64_t step = 0; step + 1 < cell.output; ++step) {
    for (llm::BatchRow& row : rows) row.position = cell.input + step;
    decoder.step_batch(rows, logits);
    for (std::size_t i = 0; i < batch; ++i) sample(i);
  }
  cell.response_ms = ms_since(begin);
}

std::string name_of(const MatrixCell& cell) {
  return fmt::format("batch {}, input {}, output {}", cell.batch, cell.input, cell.output);
}

void check_cell(const pipeline::Model& model, const Matrix& matrix, const MatrixCell& cell,
                const MemoryBound& most) {
  const llm::Decoder& decoder = *model.decoder;
  if (cell.max_seq_len() > decoder.max_position_embeddings()) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: {} positions, expected at most the {} of the model", name_of(cell),
                cell.max_seq_len(), decoder.max_position_embeddings());
  }
  if (cell.batch > decoder.prefill_rows()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: a step takes at most {} sequences", name_of(cell),
                decoder.prefill_rows());
  }
  const char* what = "the matrix";
  const llm::KvType type = matrix.kv_dtype.value_or(decoder.kv_type());
  const std::int64_t kv = checked_mul(
      checked_mul(decoder.kv_shape().bytes_per_position(type), cell.max_seq_len(), what),
      cell.batch, what);
  const std::int64_t logits = checked_mul(cell.batch, decoder.vocab_size() * 4, what);
  const std::int64_t bytes = checked_add(
      checked_add(kv, logits, what), static_cast<std::int64_t>(decoder.workspace_bytes()), what);
  if (bytes > most.bytes) {
    throw_error(ErrorCode::kLimit, "{}: needs {} MB ({} MB of KV cache), {} is {} MB",
                name_of(cell), bytes >> 20, kv >> 20, most.name, most.bytes >> 20);
  }
}

template <typename Each>
void for_each_length(const Matrix& matrix, Each&& each) {
  for (const std::int64_t input : matrix.inputs) {
    for (const std::int64_t output : matrix.outputs) each(input, output);
  }
}

}  // namespace

double MatrixCell::tokens_per_second() const {
  return 1000.0 * static_cast<double>(batch * output) / response_ms;
}

double MatrixCell::time_per_token_ms() const {
  return output < 2 ? 0.0 : (response_ms - first_token_ms) / static_cast<double>(output - 1);
}

std::vector<std::int64_t> parse_list(const std::string& text, const std::string& flag) {
  constexpr std::int64_t kMost = 1'000'000;
  std::vector<std::int64_t> out;
  const char* next = text.data();
  const char* const end = next + text.size();
  while (true) {
    std::int64_t value = 0;
    const auto parsed = std::from_chars(next, end, value);
    const bool number = parsed.ec == std::errc() && value >= 1 && value <= kMost;
    if (!number || (parsed.ptr != end && *parsed.ptr != ',')) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{} is '{}', expected numbers from 1 to {} as in 1,2,4", flag, text, kMost);
    }
    out.push_back(value);
    if (parsed.ptr == end) return out;
    next = parsed.ptr + 1;
  }
}

void check_matrix(const pipeline::Model& model, const Matrix& matrix, const Limits& limits) {
  const MemoryBound most = memory_bound(limits);
  for_each_length(matrix, [&](std::int64_t input, std::int64_t output) {
    for (const std::int64_t batch : matrix.batches) {
      check_cell(model, matrix, {.batch = batch, .input = input, .output = output}, most);
    }
  });
}

void run_matrix(pipeline::Model& model, const Matrix& matrix,
                const std::function<void(const MatrixCell&)>& on_cell) {
  for_each_length(matrix, [&](std::int64_t input, std::int64_t output) {
    std::vector<Sequence> sequences = make_sequences(model, matrix, input, output);
    const llm::MropePositions positions =
        llm::mrope_positions(sequences.front().prompt, {}, 1, model.tokens.placeholders);
    std::vector<MatrixCell> best;
    for (int run = 0; run < matrix.repeat; ++run) {
      for (std::size_t i = 0; i < matrix.batches.size(); ++i) {
        MatrixCell cell{.batch = matrix.batches[i], .input = input, .output = output};
        run_cell(*model.decoder, sequences, {positions.ids.data(), {3, input}}, cell);
        if (run == 0) {
          best.push_back(cell);
        } else if (cell.response_ms < best[i].response_ms) {
          best[i] = cell;
        }
      }
    }
    for (const MatrixCell& cell : best) on_cell(cell);
  });
}

std::string matrix_csv_header() {
  return "Batch,MaxSeqLen,InputSeqLen,OutputSeqLen,TokensPerSecond,ResponseTime(ms),"
         "FirstTokenTime(ms),TimePerToken(ms)\n";
}

std::string to_csv(const MatrixCell& cell) {
  return fmt::format("{},{},{},{},{:.3f},{:.3f},{:.3f},{:.3f}\n", cell.batch, cell.max_seq_len(),
                     cell.input, cell.output, cell.tokens_per_second(), cell.response_ms,
                     cell.first_token_ms, cell.time_per_token_ms());
}

}  // namespace reelm::bench
