#include "llm/qwen/positions.h"

#include <array>
#include <cmath>

#include "core/parallel.h"
#include "llm/mrope.h"

namespace reelm::llm::qwen {

namespace {

/// The base where seq_length has to double `doublings` times: alpha = 2^(doublings + 1) - 1.
double stretched_base(double base, std::size_t doublings, std::int64_t head_dim) {
  const double alpha = std::exp2(static_cast<double>(doublings + 1)) - 1.0;
  const auto dim = static_cast<double>(head_dim);
  return base * std::pow(alpha, dim / (dim - 2.0));
}

}  // namespace

LongPromptEncoding::LongPromptEncoding(const DecoderConfig& config)
    : seq_length_(config.seq_length), use_logn_attn_(config.use_logn_attn) {
  const qwen2::DecoderConfig& c = config.decoder;
  inv_freqs_.push_back(rope_inv_freq(c.rope_theta, c.head_dim));
  if (!config.use_dynamic_ntk) return;
  for (std::int64_t held = seq_length_; held < c.max_position_embeddings; held *= 2) {
    inv_freqs_.push_back(
        rope_inv_freq(stretched_base(c.rope_theta, inv_freqs_.size(), c.head_dim), c.head_dim));
  }
}

std::size_t LongPromptEncoding::doublings(std::int64_t prompt_length) const {
  std::size_t out = 0;
  for (std::int64_t held = seq_length_; held < prompt_length && out + 1 < inv_freqs_.size();
       held *= 2) {
    ++out;
  }
  return out;
}

void LongPromptEncoding::table(TensorView<const std::int64_t> position_ids,
                               std::span<KvCache* const> caches, TensorView<float> cos,
                               TensorView<float> sin) const {
  const std::array<std::int64_t, 1> section = {cos.size(1)};
  const std::int64_t rows = position_ids.size(1) / std::ssize(caches);
  std::int64_t first = 0;
  for (const KvCache* cache : caches) {
    mrope_table({position_ids.data() + first, {3, rows}, {position_ids.stride(0), 1}},
                inv_freqs_[doublings(cache->prompt_length())], section,
                {cos.row(first), {rows, cos.size(1)}}, {sin.row(first), {rows, sin.size(1)}});
    first += rows;
  }
}

void LongPromptEncoding::scale_queries(TensorView<const std::int64_t> position_ids,
                                       TensorView<float> queries) const {
  if (!use_logn_attn_) return;
  const double trained = std::log(static_cast<double>(seq_length_));
  const std::int64_t width = queries.size(1) * queries.size(2);
  parallel_for(queries.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t length = position_ids.row(0)[i] + 1;
      if (length <= seq_length_) continue;
      const auto scale = static_cast<float>(std::log(static_cast<double>(length)) / trained);
      float* query = queries.row(i);
      for (std::int64_t j = 0; j < width; ++j) query[j] *= scale;
    }
  });
}

}  // namespace reelm::llm::qwen
