// Sizes of Qwen2.5-VL's vision transformer.
#pragma once

#include <cstdint>
#include <vector>

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../tower_sizes.h"

namespace reelm::vision::qwen2_5_vl {

/// `vision_config` of config.json. Defaults are Qwen2_5_VLVisionConfig's of transformers.
struct VisionConfig : TowerSizes {
  VisionConfig() {
    embed_dim = 3584;
    intermediate_size = 3420;
  }

  std::int64_t window_size = 112;  ///< pixels on each side of a window
  /// Blocks that attend to the whole slice; the others stay inside a window.
  std::vector<std::int64_t> fullatt_block_indexes = {7, 15, 23, 31};

  bool full_attention(std::int64_t block) const noexcept;
  /// Output rows on each side of a window, at least 1.
  std::int64_t window_side() const noexcept {
    return window_size / spatial_merge_size / patch_size;
  }
};

/// Reads config.json. Throws Error naming the key, what was found and what was
/// expected.
VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::vision::qwen2_5_vl
