// Learned position embeddings of a square grid, brought to the grid of a picture. Not installed.
#pragma once

#include <cstdint>

#include "core/tensor_view.h"

namespace reelm::vision::qwen3_vl {

/// x [t*h*w, dim] += position embeddings, in patchify's order (groups of merge x merge): `table`
/// [side * side or more, dim], row by row of a square, is spread over h x w patches, its corners on
/// theirs, and interpolated linearly both ways. Every slice has the same. In f32 as the reference.
/// Source: get_vision_interpolation_indices_and_weights (transformers 5.23), bilinear,
/// align_corners.
void add_positions(TensorView<const float> table, std::int64_t side, std::int64_t h, std::int64_t w,
                   std::int64_t merge, TensorView<float> x);

}  // namespace reelm::vision::qwen3_vl
