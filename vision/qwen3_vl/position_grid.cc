#include "vision/qwen3_vl/position_grid.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/parallel.h"

namespace reelm::vision::qwen3_vl {

namespace {

/// The two places along a side of the table that a patch lies between, and their weights.
struct Taps {
  std::array<std::int64_t, 2> at;
  std::array<float, 2> weight;
};

Taps taps_of(std::int64_t index, std::int64_t size, std::int64_t side) {
  const float place = static_cast<float>(index) * static_cast<float>(side - 1) /
                      static_cast<float>(std::max<std::int64_t>(size - 1, 1));
  const float below = std::floor(place);
  const auto first = static_cast<std::int64_t>(below);
  const auto weight = [&](float offset) {
    return std::max(0.0f, 1.0f - std::abs(place - below - offset));
  };
  return {{std::min(first, side - 1), std::min(first + 1, side - 1)}, {weight(0.0f), weight(1.0f)}};
}

}  // namespace

void add_positions(TensorView<const float> table, std::int64_t side, std::int64_t h, std::int64_t w,
                   std::int64_t merge, TensorView<float> x) {
  const std::int64_t dim = x.size(1);
  const std::int64_t group = merge * merge, groups_per_row = w / merge;
  parallel_for(x.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t block = i % (h * w) / group, inside = i % group;
      const Taps row = taps_of(block / groups_per_row * merge + inside / merge, h, side);
      const Taps col = taps_of(block % groups_per_row * merge + inside % merge, w, side);
      const auto at = [&](std::size_t r, std::size_t c) {
        return table.row(row.at[r] * side + col.at[c]);
      };
      const auto weight = [&](std::size_t r, std::size_t c) {
        return row.weight[r] * col.weight[c];
      };
      const float *a = at(0, 0), *b = at(0, 1), *c = at(1, 0), *d = at(1, 1);
      const float wa = weight(0, 0), wb = weight(0, 1), wc = weight(1, 0), wd = weight(1, 1);
      float* to = x.row(i);
      for (std::int64_t j = 0; j < dim; ++j) {
        to[j] += a[j] * wa + b[j] * wb + c[j] * wc + d[j] * wd;
      }
    }
  });
}

}  // namespace reelm::vision::qwen3_vl
