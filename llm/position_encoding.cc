#include "llm/position_encoding.h"

#include <utility>

#include "llm/mrope.h"

namespace reelm::llm {

MropeEncoding::MropeEncoding(double rope_theta, std::int64_t head_dim,
                             std::vector<std::int64_t> mrope_section)
    : inv_freq_(rope_inv_freq(rope_theta, head_dim)), mrope_section_(std::move(mrope_section)) {}

void MropeEncoding::table(TensorView<const std::int64_t> position_ids,
                          std::span<KvCache* const> /*caches*/, TensorView<float> cos,
                          TensorView<float> sin) const {
  mrope_table(position_ids, inv_freq_, mrope_section_, cos, sin);
}

}  // namespace reelm::llm
