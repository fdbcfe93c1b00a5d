// Reading of the weights that the vision transformers of all families name alike. Not installed.
#pragma once

#include <string>

#include "layers/weight_reader.h"
#include "vision/tower_sizes.h"

namespace reelm::vision {

/// What the names of the tower's tensors begin with: "visual.", or "model.visual." where a newer
/// transformers wrote the checkpoint.
std::string tower_prefix(const layers::WeightReader& reader);

/// [embed_dim, patch_dim] of `<prefix>patch_embed.proj.weight`: a Conv3d with stride = kernel is a
/// product. With quantised types it stays bf16: it is a thousandth of the work, and its inputs are
/// pixels. Throws as WeightReader::weight.
kernels::PackedMatrix read_patch_embed(const layers::WeightReader& reader,
                                       const std::string& prefix, const TowerSizes& sizes,
                                       kernels::ComputeType type);

}  // namespace reelm::vision
