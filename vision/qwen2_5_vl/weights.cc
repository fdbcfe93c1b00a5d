#include "vision/qwen2_5_vl/weights.h"

#include <string>

#include "vision/tower_weights.h"

namespace reelm::vision::qwen2_5_vl {

namespace {

BlockWeights load_block(const layers::WeightReader& reader, const VisionConfig& c,
                        const std::string& prefix, kernels::ComputeType type) {
  const std::string attn = prefix + "attn.", mlp = prefix + "mlp.";
  BlockWeights b;
  b.norm1 = reader.vector(prefix + "norm1.weight", c.embed_dim);
  b.qkv = reader.linear({attn + "qkv", 3 * c.embed_dim, c.embed_dim}, true, type);
  b.proj = reader.linear({attn + "proj", c.embed_dim, c.embed_dim}, true, type);
  b.norm2 = reader.vector(prefix + "norm2.weight", c.embed_dim);
  b.gate_up = reader.gated({mlp + "gate_proj", c.intermediate_size, c.embed_dim},
                           {mlp + "up_proj", c.intermediate_size, c.embed_dim}, true, type);
  b.down_proj = reader.linear({mlp + "down_proj", c.embed_dim, c.intermediate_size}, true, type);
  return b;
}

}  // namespace

std::size_t VisionWeights::size_bytes() const noexcept {
  std::size_t total = patch_embed.size_bytes() + ln_q.size_bytes() + merger_fc1.size_bytes() +
                      merger_fc2.size_bytes();
  for (const BlockWeights& b : blocks) {
    total += b.norm1.size_bytes() + b.qkv.size_bytes() + b.proj.size_bytes() +
             b.norm2.size_bytes() + b.gate_up.size_bytes() + b.down_proj.size_bytes();
  }
  return total;
}

VisionWeights load_vision_weights(const layers::WeightReader& reader, const VisionConfig& c,
                                  kernels::ComputeType type) {
  const std::string visual = tower_prefix(reader);
  VisionWeights w;
  w.patch_embed.weight = read_patch_embed(reader, visual, c, type);
  for (std::int64_t i = 0; i < c.depth; ++i) {
    w.blocks.push_back(load_block(reader, c, visual + "blocks." + std::to_string(i) + ".", type));
  }
  const std::string merger = visual + "merger.";
  w.ln_q = reader.vector(merger + "ln_q.weight", c.embed_dim);
  w.merger_fc1 = reader.linear({merger + "mlp.0", c.merged_dim(), c.merged_dim()}, true, type);
  w.merger_fc2 = reader.linear({merger + "mlp.2", c.hidden_size, c.merged_dim()}, true, type);
  return w;
}

}  // namespace reelm::vision::qwen2_5_vl
