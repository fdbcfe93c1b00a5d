// Boundaries of the independent slices inside a batch of patches.
#pragma once

#include <cstdint>
#include <vector>

#include "../core/patch_batch.h"

namespace reelm::vision {

/// {0, h*w, 2*h*w, ..., t*h*w}: attention stays inside each t-slice.
/// Source: get_vision_attention_seqlens (transformers 5.23).
std::vector<std::int64_t> cu_seqlens(const GridThw& grid_thw);

}  // namespace reelm::vision
