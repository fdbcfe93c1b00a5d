#include "vision/qwen2_vl/weights.h"

#include <string>

#include "vision/tower_weights.h"

namespace reelm::vision::qwen2_vl {

std::size_t VisionWeights::size_bytes() const noexcept {
  std::size_t total = patch_embed.size_bytes() + ln_q.size_bytes() + merger_fc1.size_bytes() +
                      merger_fc2.size_bytes();
  for (const BlockWeights& b : blocks) {
    total += b.norm1.size_bytes() + b.qkv.size_bytes() + b.proj.size_bytes() +
             b.norm2.size_bytes() + b.fc1.size_bytes() + b.fc2.size_bytes();
  }
  return total;
}

VisionWeights load_vision_weights(const layers::WeightReader& reader, const VisionConfig& c,
                                  kernels::ComputeType type) {
  const std::string visual = tower_prefix(reader);
  const auto linear = [&](const std::string& name, std::int64_t out, std::int64_t in) {
    return reader.linear({visual + name, out, in}, true, type);
  };
  VisionWeights w;
  w.patch_embed.weight = read_patch_embed(reader, visual, c, type);
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string block = "blocks." + std::to_string(i) + ".";
    BlockWeights b;
    b.norm1 = load_layer_norm(reader, visual + block + "norm1", c.embed_dim);
    b.qkv = linear(block + "attn.qkv", 3 * c.embed_dim, c.embed_dim);
    b.proj = linear(block + "attn.proj", c.embed_dim, c.embed_dim);
    b.norm2 = load_layer_norm(reader, visual + block + "norm2", c.embed_dim);
    b.fc1 = linear(block + "mlp.fc1", c.intermediate_size, c.embed_dim);
    b.fc2 = linear(block + "mlp.fc2", c.embed_dim, c.intermediate_size);
    w.blocks.push_back(std::move(b));
  }
  w.ln_q = load_layer_norm(reader, visual + "merger.ln_q", c.embed_dim);
  w.merger_fc1 = linear("merger.mlp.0", c.merged_dim(), c.merged_dim());
  w.merger_fc2 = linear("merger.mlp.2", c.hidden_size, c.merged_dim());
  return w;
}

}  // namespace reelm::vision::qwen2_vl
