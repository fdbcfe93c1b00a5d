#include "vision/cu_seqlens.h"

namespace reelm::vision {

std::vector<std::int64_t> cu_seqlens(const GridThw& grid_thw) {
  const auto [t, h, w] = grid_thw;
  std::vector<std::int64_t> out(static_cast<std::size_t>(t) + 1);
  for (std::int64_t i = 0; i <= t; ++i) out[static_cast<std::size_t>(i)] = i * h * w;
  return out;
}

}  // namespace reelm::vision
