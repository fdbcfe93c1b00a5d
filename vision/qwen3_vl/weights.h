// Weights of Qwen3-VL's vision transformer.
#pragma once

#include <cstddef>
#include <vector>

#include "../../core/aligned_buffer.h"
#include "../../layers/weight_reader.h"
#include "../layer_norm.h"
#include "config.h"

namespace reelm::vision::qwen3_vl {

struct BlockWeights {
  LayerNormWeights norm1;     // [embed_dim]
  layers::Linear qkv;         // [3 * embed_dim, embed_dim]
  layers::Linear proj;        // [embed_dim, embed_dim]
  LayerNormWeights norm2;     // [embed_dim]
  layers::Linear linear_fc1;  // [intermediate_size, embed_dim]
  layers::Linear linear_fc2;  // [embed_dim, intermediate_size]
};

/// Of the tower's end the norm is of patches [embed_dim]; of deep-stack features it is of those
/// that were merged [embed_dim * merge^2].
struct MergerWeights {
  LayerNormWeights norm;
  layers::Linear linear_fc1;  // [embed_dim * merge^2, embed_dim * merge^2]
  layers::Linear linear_fc2;  // [hidden_size, embed_dim * merge^2]

  std::size_t size_bytes() const noexcept;
};

struct VisionWeights {
  layers::Linear patch_embed;            // [embed_dim, patch_dim]
  AlignedBuffer<float> pos_embed;        // [num_position_embeddings, embed_dim]
  std::vector<BlockWeights> blocks;      // [depth]
  std::vector<MergerWeights> deepstack;  // [deepstack_visual_indexes.size()]
  MergerWeights merger;

  std::size_t size_bytes() const noexcept;
};

/// Reads `visual.*` or `model.visual.*`; the patch embedding is never quantised. Throws Error
/// naming file, tensor, found and expected.
VisionWeights load_vision_weights(const layers::WeightReader& reader, const VisionConfig& config,
                                  kernels::ComputeType type);

}  // namespace reelm::vision::qwen3_vl
