// The rotary embedding of half a head, in pairs that lie side by side, by way of the one over
// halves of whole heads (kernels/rotary.h). Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "layers/weight_reader.h"
#include "llm/chatglm2/config.h"
#include "llm/position_encoding.h"

namespace reelm::llm::chatglm2 {

/// The order that a head's channels have here. The published code turns the channels 2j and 2j + 1
/// together, j < head_dim / 4, and leaves the others alone; kernels::rotary turns i and
/// i + head_dim / 2. So 2j goes to j, 2j + 1 to j + head_dim / 2, and the others fill what is
/// left, to be turned by angles of 0. Queries and keys have the same order, and a sum of products
/// over channels is the same in any. Returns [head_dim]: the published channel at each place.
/// Source: apply_rotary_pos_emb of modeling_chatglm.py. head_dim is a multiple of 4.
std::vector<std::int64_t> channel_order(std::int64_t head_dim);

/// The rows of query_key_value in that order: `heads` query heads, as many key heads as
/// num_key_value_heads, each by channel_order; the values behind them as they are.
layers::RowOrder query_key_value_order(const qwen2::DecoderConfig& config);

/// The angles: 1-D RoPE of dimension head_dim / 2 for the first head_dim / 4 pairs, 0 for the rest.
/// Source: RotaryEmbedding of modeling_chatglm.py.
class HalfRotaryEncoding final : public PositionEncoding {
 public:
  explicit HalfRotaryEncoding(const DecoderConfig& config);

  void table(TensorView<const std::int64_t> position_ids, std::span<KvCache* const> caches,
             TensorView<float> cos, TensorView<float> sin) const override;

 private:
  std::vector<float> inv_freq_;  // [head_dim / 2]
};

}  // namespace reelm::llm::chatglm2
