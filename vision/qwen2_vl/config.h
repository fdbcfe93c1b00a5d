// Sizes of Qwen2-VL's vision transformer.
#pragma once

#include <cstdint>

#include "../../core/limits.h"
#include "../../core/model_files.h"

namespace reelm::vision::qwen2_vl {

/// `vision_config` of config.json, in its words. Defaults are Qwen2VLVisionConfig's of
/// transformers.
struct VisionConfig {
  std::int64_t depth = 32;
  std::int64_t embed_dim = 1280;
  std::int64_t num_heads = 16;
  std::int64_t hidden_size = 3584;  // of the decoder: the merger's output
  std::int64_t in_channels = 3;
  std::int64_t patch_size = 14;
  std::int64_t temporal_patch_size = 2;
  std::int64_t spatial_merge_size = 2;
  std::int64_t intermediate_size = 5120;  // int(embed_dim * mlp_ratio)
  double rope_theta = 10000.0;

  std::int64_t head_dim() const noexcept { return embed_dim / num_heads; }
  std::int64_t patch_dim() const noexcept {
    return in_channels * temporal_patch_size * patch_size * patch_size;
  }
};

/// Reads config.json: both layouts (`in_chans` and `in_channels`). Throws
/// Error naming the key, what was found and what was expected.
VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::vision::qwen2_vl
