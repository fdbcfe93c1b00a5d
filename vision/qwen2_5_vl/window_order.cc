#include "vision/qwen2_5_vl/window_order.h"

#include <algorithm>

#include "core/parallel.h"

namespace reelm::vision::qwen2_5_vl {

namespace {

/// Calls copy(rows in patchify's order, rows in windows' order) for every group of t slices: their
/// first rows.
template <class Copy>
void for_each_group(std::int64_t rows, std::span<const std::int64_t> groups,
                    std::int64_t group_rows, Copy&& copy) {
  const auto a_slice = static_cast<std::int64_t>(groups.size());
  parallel_for(rows / group_rows, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t first = i / a_slice * a_slice;
      copy((first + groups[static_cast<std::size_t>(i - first)]) * group_rows, i * group_rows);
    }
  });
}

}  // namespace

WindowOrder::WindowOrder(std::int64_t h, std::int64_t w, std::int64_t merge, std::int64_t side)
    : h_(h), w_(w), group_rows_(merge * merge) {
  const std::int64_t rows = h / merge, cols = w / merge;
  groups_.reserve(static_cast<std::size_t>(rows * cols));
  for (std::int64_t top = 0; top < rows; top += side) {
    for (std::int64_t left = 0; left < cols; left += side) {
      const std::int64_t bottom = std::min(top + side, rows), right = std::min(left + side, cols);
      for (std::int64_t y = top; y < bottom; ++y) {
        for (std::int64_t x = left; x < right; ++x) groups_.push_back(y * cols + x);
      }
      window_groups_.push_back((bottom - top) * (right - left));
    }
  }
}

std::vector<std::int64_t> WindowOrder::cu_seqlens(std::int64_t t) const {
  std::vector<std::int64_t> out = {0};
  out.reserve(static_cast<std::size_t>(t) * window_groups_.size() + 1);
  for (std::int64_t slice = 0; slice < t; ++slice) {
    for (const std::int64_t groups : window_groups_)
      out.push_back(out.back() + groups * group_rows_);
  }
  return out;
}

void WindowOrder::gather(TensorView<const float> from, TensorView<float> to) const {
  const std::int64_t values = group_rows_ * from.size(1);
  for_each_group(from.size(0), groups_, group_rows_, [&](std::int64_t theirs, std::int64_t ours) {
    std::copy_n(from.row(theirs), values, to.row(ours));
  });
}

void WindowOrder::scatter(TensorView<const float> from, TensorView<float> to) const {
  const std::int64_t values = group_rows_ * from.size(1);
  for_each_group(from.size(0), groups_, group_rows_, [&](std::int64_t theirs, std::int64_t ours) {
    std::copy_n(from.row(ours), values, to.row(theirs));
  });
}

}  // namespace reelm::vision::qwen2_5_vl
