// Weights of Qwen2-VL's vision transformer.
#pragma once

#include <cstddef>
#include <vector>

#include "../../layers/weight_reader.h"
#include "../layer_norm.h"
#include "config.h"

namespace reelm::vision::qwen2_vl {

struct BlockWeights {
  LayerNormWeights norm1;  // [embed_dim]
  layers::Linear qkv;      // [3 * embed_dim, embed_dim]
  layers::Linear proj;     // [embed_dim, embed_dim]
  LayerNormWeights norm2;  // [embed_dim]
  layers::Linear fc1;      // [intermediate_size, embed_dim]
  layers::Linear fc2;      // [embed_dim, intermediate_size]
};

struct VisionWeights {
  layers::Linear patch_embed;        // [embed_dim, patch_dim]
  std::vector<BlockWeights> blocks;  // [depth]
  LayerNormWeights ln_q;             // [embed_dim]
  layers::Linear merger_fc1;         // [embed_dim * merge^2, embed_dim * merge^2]
  layers::Linear merger_fc2;         // [hidden_size, embed_dim * merge^2]

  std::size_t size_bytes() const noexcept;
};

/// Reads `visual.*` or `model.visual.*`; the patch embedding is never quantised. Throws Error
/// naming file, tensor, found and expected.
VisionWeights load_vision_weights(const layers::WeightReader& reader, const VisionConfig& config,
                                  kernels::ComputeType type);

}  // namespace reelm::vision::qwen2_vl
