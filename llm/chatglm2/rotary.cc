#include "llm/chatglm2/rotary.h"

#include <array>

#include "core/throw.h"
#include "llm/mrope.h"

namespace reelm::llm::chatglm2 {

std::vector<std::int64_t> channel_order(std::int64_t head_dim) {
  REELM_CHECK(head_dim % 4 == 0);
  const std::int64_t pairs = head_dim / 4;
  std::vector<std::int64_t> order(static_cast<std::size_t>(head_dim));
  for (std::int64_t half = 0; half < 2; ++half) {
    std::int64_t* to = order.data() + half * 2 * pairs;
    for (std::int64_t j = 0; j < pairs; ++j) {
      to[j] = 2 * j + half;
      to[pairs + j] = (2 + half) * pairs + j;
    }
  }
  return order;
}

layers::RowOrder query_key_value_order(const qwen2::DecoderConfig& c) {
  const std::vector<std::int64_t> order = channel_order(c.head_dim);
  layers::RowOrder out = {"halves", {}};
  const std::int64_t turned = c.num_attention_heads + c.num_key_value_heads;
  for (std::int64_t head = 0; head < turned; ++head) {
    for (const std::int64_t channel : order) {
      out.ranges.push_back({head * c.head_dim + channel, 1});
    }
  }
  out.ranges.push_back({turned * c.head_dim, c.num_key_value_heads * c.head_dim});
  return out;
}

HalfRotaryEncoding::HalfRotaryEncoding(const DecoderConfig& config)
    : inv_freq_(rope_inv_freq(config.decoder.rope_theta, config.decoder.head_dim / 2)) {
  for (float& frequency : inv_freq_) {
    frequency = static_cast<float>(static_cast<double>(frequency) / config.position_divisor);
  }
  inv_freq_.resize(static_cast<std::size_t>(config.decoder.head_dim / 2), 0.0f);
}

void HalfRotaryEncoding::table(TensorView<const std::int64_t> position_ids,
                               std::span<KvCache* const> /*caches*/, TensorView<float> cos,
                               TensorView<float> sin) const {
  const std::array<std::int64_t, 1> section = {cos.size(1)};
  mrope_table(position_ids, inv_freq_, section, cos, sin);
}

}  // namespace reelm::llm::chatglm2
