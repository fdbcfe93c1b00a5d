// Rotary angles of a grid of patches, computed once a grid.
#pragma once

#include <cstdint>
#include <span>

#include "../core/aligned_buffer.h"
#include "../core/tensor_view.h"

namespace reelm::vision {

/// cos and sin [h*w, head_dim / 2] for one t-slice of h x w patches in patchify's order (groups of
/// merge x merge): the first quarter of head_dim turns with the row, the second with the column.
/// Every slice of a video shares it. With `order` [h*w / merge^2] the groups are in another: row
/// group i is that of group order[i] of patchify's. Source: Qwen2VLVisionRotaryEmbedding,
/// get_vision_position_ids (transformers 5.23).
class RotaryTable {
 public:
  RotaryTable() = default;
  RotaryTable(std::int64_t h, std::int64_t w, std::int64_t merge, std::int64_t head_dim,
              double theta, std::span<const std::int64_t> order = {});

  std::int64_t h() const noexcept { return h_; }
  std::int64_t w() const noexcept { return w_; }
  TensorView<const float> cos() const noexcept { return {cos_.data(), {h_ * w_, half_}}; }
  TensorView<const float> sin() const noexcept { return {sin_.data(), {h_ * w_, half_}}; }

 private:
  std::int64_t h_ = 0;
  std::int64_t w_ = 0;
  std::int64_t half_ = 0;
  AlignedBuffer<float> cos_;
  AlignedBuffer<float> sin_;
};

}  // namespace reelm::vision
