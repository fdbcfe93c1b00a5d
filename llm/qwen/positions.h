// How the first Qwen stretches to prompts beyond the length it was trained on. Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "llm/position_encoding.h"
#include "llm/qwen/config.h"

namespace reelm::llm::qwen {

/// 1-D RoPE whose base grows with the prompt that a sequence began with (dynamic NTK), and queries
/// that grow with the logarithm of their position (logn attention). Source: modeling_qwen.py,
/// QWenModel.get_ntk_alpha, RotaryEmbedding and QWenAttention.logn_tensor.
class LongPromptEncoding final : public PositionEncoding {
 public:
  explicit LongPromptEncoding(const DecoderConfig& config);

  void table(TensorView<const std::int64_t> position_ids, std::span<KvCache* const> caches,
             TensorView<float> cos, TensorView<float> sin) const override;
  bool same_angles(std::int64_t prompt_length, std::int64_t length) const override {
    return doublings(prompt_length) == doublings(length);
  }
  void scale_queries(TensorView<const std::int64_t> position_ids,
                     TensorView<float> queries) const override;

 private:
  /// How often seq_length has to double before it holds the prompt, as an index of inv_freqs_.
  std::size_t doublings(std::int64_t prompt_length) const;

  const std::int64_t seq_length_;
  const bool use_logn_attn_;
  std::vector<std::vector<float>> inv_freqs_;  // by doublings, [head_dim / 2] each
};

}  // namespace reelm::llm::qwen
