#include "llm/mrope.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"
#include "core/throw.h"

namespace reelm::llm {

namespace {

constexpr std::int64_t kMaxPosition = std::int64_t{1} << 40;

/// How far a temporal patch is from the first one.
std::int64_t time_of(const VisionGrid& grid, std::int64_t t) {
  const float time = static_cast<float>(t) * grid.time_interval;
  // Written so that NaN is refused.
  if (!(time >= 0.0f && time < static_cast<float>(kMaxPosition))) {
    throw_error(ErrorCode::kInvalidArgument,
                "temporal patch {} of a video is at position {}, expected 0 to {}", t, time,
                kMaxPosition);
  }
  return static_cast<std::int64_t>(time);
}

/// Writes positions of one image or video; returns how far the running position moves.
std::int64_t place_grid(const VisionGrid& grid, std::int64_t merge, std::int64_t position,
                        PositionRule rule, std::int64_t* t_out, std::int64_t* h_out,
                        std::int64_t* w_out) {
  const std::int64_t h = grid.thw[1] / merge;
  const std::int64_t w = grid.thw[2] / merge;
  std::int64_t time = 0;
  for (std::int64_t t = 0; t < grid.thw[0]; ++t) {
    time = time_of(grid, t);
    for (std::int64_t y = 0; y < h; ++y) {
      for (std::int64_t x = 0; x < w; ++x) {
        *t_out++ = position + time;
        *h_out++ = position + y;
        *w_out++ = position + x;
      }
    }
  }
  const std::int64_t side = std::max(h, w);
  return rule == PositionRule::kPaper ? std::max(time + 1, side) : side;
}

}  // namespace

float time_interval(double tokens_per_second, double second_per_grid) noexcept {
  if (tokens_per_second == 0.0) return 1.0f;
  return static_cast<float>(tokens_per_second) * static_cast<float>(second_per_grid);
}

MropePositions mrope_positions(std::span<const TokenId> ids, std::span<const VisionGrid> grids,
                               std::int64_t merge, const VisionTokenIds& tokens, std::int64_t start,
                               PositionRule rule) {
  const auto n = static_cast<std::int64_t>(ids.size());
  MropePositions out;
  out.ids.resize(3 * ids.size());
  std::int64_t* t = out.ids.data();
  std::int64_t* h = t + n;
  std::int64_t* w = h + n;
  std::int64_t position = start;
  std::size_t next_grid = 0;
  for (std::int64_t i = 0; i < n;) {
    const TokenId id = ids[static_cast<std::size_t>(i)];
    if (id != tokens.image && id != tokens.video) {
      t[i] = h[i] = w[i] = position++;
      ++i;
      continue;
    }
    if (next_grid == grids.size()) {
      throw_error(ErrorCode::kInvalidArgument,
                  "the prompt has more placeholder runs than the {} media given", grids.size());
    }
    const VisionGrid& grid = grids[next_grid++];
    const auto [grid_t, grid_h, grid_w] = grid.thw;
    const std::int64_t count = grid_t * (grid_h / merge) * (grid_w / merge);
    std::int64_t run = 0;
    while (run < count && i + run < n && ids[static_cast<std::size_t>(i + run)] == id) ++run;
    if (run != count) {
      throw_error(ErrorCode::kInvalidArgument,
                  "the prompt has {} placeholder tokens in a row, expected {} for grid {}x{}x{}",
                  run, count, grid_t, grid_h, grid_w);
    }
    position += place_grid(grid, merge, position, rule, t + i, h + i, w + i);
    i += count;
  }
  if (next_grid != grids.size()) {
    throw_error(ErrorCode::kInvalidArgument, "{} media were given, the prompt has {} of them",
                grids.size(), next_grid);
  }
  const std::int64_t largest =
      n == 0 ? start - 1 : *std::max_element(out.ids.begin(), out.ids.end());
  out.rope_delta = largest + 1 - start - n;
  return out;
}

std::vector<std::int64_t> interleaved_mrope_section(std::span<const std::int64_t, 3> section) {
  const std::int64_t half = section[0] + section[1] + section[2];
  std::vector<std::int64_t> out;
  for (std::int64_t j = 0; j < half; ++j) {
    const auto turn = static_cast<std::size_t>(j % 3);
    const std::size_t part = j < 3 * section[turn] ? turn : 0;
    if (out.empty() || (out.size() - 1) % 3 != part) {
      while (out.size() % 3 != part) out.push_back(0);
      out.push_back(0);
    }
    ++out.back();
  }
  return out;
}

std::vector<float> rope_inv_freq(double theta, std::int64_t head_dim) {
  std::vector<float> out(static_cast<std::size_t>(head_dim / 2));
  for (std::size_t j = 0; j < out.size(); ++j) {
    const float exponent = static_cast<float>(2 * j) / static_cast<float>(head_dim);
    out[j] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  return out;
}

void mrope_table(TensorView<const std::int64_t> position_ids, std::span<const float> inv_freq,
                 std::span<const std::int64_t> mrope_section, TensorView<float> cos,
                 TensorView<float> sin) {
  const std::int64_t n = position_ids.size(1);
  const auto half = static_cast<std::int64_t>(inv_freq.size());
  // cos and sin of a whole row cost about 2 us; a decode step has one row.
  parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t j = 0;
      for (std::size_t part = 0; part < mrope_section.size(); ++part) {
        const auto position =
            static_cast<float>(position_ids.row(static_cast<std::int64_t>(part % 3))[i]);
        for (std::int64_t k = 0; k < mrope_section[part] && j < half; ++k, ++j) {
          const float angle = position * inv_freq[static_cast<std::size_t>(j)];
          cos.row(i)[j] = std::cos(angle);
          sin.row(i)[j] = std::sin(angle);
        }
      }
    }
  });
}

}  // namespace reelm::llm
