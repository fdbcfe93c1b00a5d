#include "vision/tower_weights.h"

namespace reelm::vision {

std::string tower_prefix(const layers::WeightReader& reader) {
  return reader.has("model.visual.patch_embed.proj.weight") ? "model.visual." : "visual.";
}

kernels::PackedMatrix read_patch_embed(const layers::WeightReader& reader,
                                       const std::string& prefix, const TowerSizes& c,
                                       kernels::ComputeType type) {
  const auto kept = type == kernels::ComputeType::kF32 ? type : kernels::ComputeType::kBF16;
  return reader.weight(
      prefix + "patch_embed.proj.weight",
      {c.embed_dim, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size}, kept);
}

}  // namespace reelm::vision
