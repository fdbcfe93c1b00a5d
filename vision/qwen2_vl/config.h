// Sizes of Qwen2-VL's vision transformer.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../tower_sizes.h"

namespace reelm::vision::qwen2_vl {

/// `vision_config` of config.json. Defaults are Qwen2VLVisionConfig's of transformers;
/// intermediate_size is int(embed_dim * mlp_ratio).
struct VisionConfig : TowerSizes {};

/// Reads config.json: both layouts (`in_chans` and `in_channels`). Throws
/// Error naming the key, what was found and what was expected.
VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::vision::qwen2_vl
