// Sizes of Qwen3-VL's vision transformer.
#pragma once

#include <cstdint>
#include <vector>

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../tower_sizes.h"

namespace reelm::vision::qwen3_vl {

/// `vision_config` of config.json. Defaults are Qwen3VLVisionConfig's of transformers.
struct VisionConfig : TowerSizes {
  VisionConfig() {
    depth = 27;
    embed_dim = 1152;
    intermediate_size = 4304;
    patch_size = 16;
  }

  std::int64_t num_position_embeddings = 2304;  ///< of a square grid, which is interpolated
  /// Blocks behind which a merger of its own makes features for the decoder's first layers, the
  /// first of them for layer 0. Ascending.
  std::vector<std::int64_t> deepstack_visual_indexes = {8, 16, 24};

  /// Positions on each side of the grid.
  std::int64_t grid_side() const noexcept;
};

/// Reads config.json. Throws Error naming the key, what was found and what was expected.
VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::vision::qwen3_vl
