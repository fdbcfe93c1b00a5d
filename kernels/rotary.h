// Rotary position embedding over halves of head_dim, in place.
#pragma once

#include "../core/tensor_view.h"

namespace reelm::kernels {

/// x [n, heads, head_dim] (any stride of the first two), cos and sin [n, head_dim / 2] (dense
/// rows): (x1, x2) -> (x1*cos - x2*sin, x2*cos + x1*sin), x1 and x2 the halves of head_dim: what
/// apply_rotary_pos_emb of transformers gives when both halves share their angles.
void rotary(TensorView<float> x, TensorView<const float> cos, TensorView<const float> sin);

}  // namespace reelm::kernels
