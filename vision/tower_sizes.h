// The sizes that the vision transformers of all families have.
#pragma once

#include <cstdint>

namespace reelm::vision {

/// In the words of Qwen2VLVisionConfig, with its defaults. Later families write hidden_size for
/// embed_dim, and out_hidden_size for hidden_size.
struct TowerSizes {
  std::int64_t depth = 32;
  std::int64_t embed_dim = 1280;
  std::int64_t num_heads = 16;
  std::int64_t hidden_size = 3584;  // of the decoder: the merger's output
  std::int64_t in_channels = 3;
  std::int64_t patch_size = 14;
  std::int64_t temporal_patch_size = 2;
  std::int64_t spatial_merge_size = 2;
  std::int64_t intermediate_size = 5120;
  double rope_theta = 10000.0;

  std::int64_t head_dim() const noexcept { return embed_dim / num_heads; }
  std::int64_t patch_dim() const noexcept {
    return in_channels * temporal_patch_size * patch_size * patch_size;
  }
  /// Width of the merger's input: the patches that become one output row.
  std::int64_t merged_dim() const noexcept {
    return embed_dim * spatial_merge_size * spatial_merge_size;
  }
};

}  // namespace reelm::vision
