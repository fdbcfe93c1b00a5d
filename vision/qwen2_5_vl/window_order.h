// The order that Qwen2.5-VL's tower keeps its patches in, where a window is rows behind each other.
// Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor_view.h"

namespace reelm::vision::qwen2_5_vl {

/// Groups of merge x merge patches of one slice of h x w, window by window; those at the right and
/// the lower edge may be smaller. Source: get_vision_window_index (transformers 5.23).
class WindowOrder {
 public:
  WindowOrder() = default;
  /// Windows of `side` x `side` groups; h and w are multiples of merge.
  WindowOrder(std::int64_t h, std::int64_t w, std::int64_t merge, std::int64_t side);

  std::int64_t h() const noexcept { return h_; }
  std::int64_t w() const noexcept { return w_; }
  /// [h*w / merge^2]: group i is patchify's group groups()[i].
  std::span<const std::int64_t> groups() const noexcept { return groups_; }
  /// Boundaries of the windows of t slices, in patches: {0, ..., t*h*w}.
  std::vector<std::int64_t> cu_seqlens(std::int64_t t) const;

  /// Rows of whole slices from patchify's order into this one, and back. Of equal sizes, apart.
  void gather(TensorView<const float> from, TensorView<float> to) const;
  void scatter(TensorView<const float> from, TensorView<float> to) const;

 private:
  std::int64_t h_ = 0;
  std::int64_t w_ = 0;
  std::int64_t group_rows_ = 0;  // merge^2
  std::vector<std::int64_t> groups_;
  std::vector<std::int64_t> window_groups_;  // of each window, how many groups
};

}  // namespace reelm::vision::qwen2_5_vl
