// Qwen2-VL's language model for the ladder's lower rungs: plain where a switch is off.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bench/ladder/cache.h"
#include "bench/ladder/switches.h"
#include "bench/ladder/tensor.h"
#include "llm/decoder.h"
#include "llm/qwen2/weights.h"

namespace reelm::bench {

/// Wired for reading beside modeling_qwen2_vl.py, one sequence at a time; what ships is
/// llm/qwen2/decoder.cc. Matrix products are the fast ones at every rung. Nothing is checked:
/// ids, positions and vision rows fit.
class SwitchedDecoder {
 public:
  /// `weights` are of `type` (not quantised) and outlive the decoder. The cache is of `kv_type`
  /// (not kInt8), with room for `capacity` positions where it is fixed.
  SwitchedDecoder(const llm::qwen2::DecoderConfig& config,
                  const llm::qwen2::DecoderWeights& weights, kernels::ComputeType type,
                  llm::KvType kv_type, std::int64_t capacity, const Switches& switches);

  /// A prompt from the beginning: what was cached is forgotten. logits [vocab_size].
  void prefill(const llm::PromptInput& input, TensorView<float> logits);
  /// One more token.
  void step(llm::TokenId token, std::int64_t position, TensorView<float> logits);

  const Counters& counters() const { return counters_; }

 private:
  struct Pass;

  std::int64_t q_dim() const { return config_.num_attention_heads * config_.head_dim; }
  std::int64_t kv_dim() const { return config_.num_key_value_heads * config_.head_dim; }
  Tensor embed(const llm::PromptInput& input);
  /// Heads `first` to `first + heads` of every row of qkv.
  TensorView<float> heads_of(Tensor& qkv, std::int64_t first, std::int64_t heads) const;
  Pass begin(std::int64_t n, TensorView<const std::int64_t> positions);
  void forward(Tensor x, TensorView<const std::int64_t> positions, TensorView<float> logits);
  /// x += delta (not where delta is empty), then its norm.
  Tensor add_and_norm(Tensor& x, Tensor& delta, const AlignedBuffer<float>& weight);
  void make_rotary_table(Pass& pass);
  void turn(Tensor& qkv, Pass& pass);
  /// Of the last `rows` rows of qkv.
  Tensor attend(std::int64_t layer, Tensor& qkv, std::int64_t rows, const Pass& pass);

  const llm::qwen2::DecoderConfig& config_;
  const llm::qwen2::DecoderWeights& weights_;
  const kernels::ComputeType type_;
  const Switches switches_;
  const std::int64_t capacity_;
  const std::vector<float> inv_freq_;  // [head_dim / 2]
  Counters counters_;
  std::unique_ptr<LadderCache> cache_;
};

}  // namespace reelm::bench
