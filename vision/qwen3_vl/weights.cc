#include "vision/qwen3_vl/weights.h"

#include <string>

#include "vision/tower_weights.h"

namespace reelm::vision::qwen3_vl {

namespace {

BlockWeights load_block(const layers::WeightReader& reader, const VisionConfig& c,
                        const std::string& prefix, kernels::ComputeType type) {
  const std::string attn = prefix + "attn.", mlp = prefix + "mlp.";
  BlockWeights b;
  b.norm1 = load_layer_norm(reader, prefix + "norm1", c.embed_dim);
  b.qkv = reader.linear({attn + "qkv", 3 * c.embed_dim, c.embed_dim}, true, type);
  b.proj = reader.linear({attn + "proj", c.embed_dim, c.embed_dim}, true, type);
  b.norm2 = load_layer_norm(reader, prefix + "norm2", c.embed_dim);
  b.linear_fc1 = reader.linear({mlp + "linear_fc1", c.intermediate_size, c.embed_dim}, true, type);
  b.linear_fc2 = reader.linear({mlp + "linear_fc2", c.embed_dim, c.intermediate_size}, true, type);
  return b;
}

AlignedBuffer<float> load_positions(const layers::WeightReader& reader, const VisionConfig& c,
                                    const std::string& name) {
  const std::int64_t n = c.num_position_embeddings * c.embed_dim;
  AlignedBuffer<float> out(static_cast<std::size_t>(n));
  layers::copy_elements(reader.matrix(name, {c.num_position_embeddings, c.embed_dim}), 0, n,
                        out.data());
  return out;
}

MergerWeights load_merger(const layers::WeightReader& reader, const VisionConfig& c,
                          const std::string& prefix, std::int64_t normed,
                          kernels::ComputeType type) {
  return {load_layer_norm(reader, prefix + "norm", normed),
          reader.linear({prefix + "linear_fc1", c.merged_dim(), c.merged_dim()}, true, type),
          reader.linear({prefix + "linear_fc2", c.hidden_size, c.merged_dim()}, true, type)};
}

}  // namespace

std::size_t MergerWeights::size_bytes() const noexcept {
  return norm.size_bytes() + linear_fc1.size_bytes() + linear_fc2.size_bytes();
}

std::size_t VisionWeights::size_bytes() const noexcept {
  std::size_t total = patch_embed.size_bytes() + pos_embed.size_bytes() + merger.size_bytes();
  for (const BlockWeights& b : blocks) {
    total += b.norm1.size_bytes() + b.qkv.size_bytes() + b.proj.size_bytes() +
             b.norm2.size_bytes() + b.linear_fc1.size_bytes() + b.linear_fc2.size_bytes();
  }
  for (const MergerWeights& m : deepstack) total += m.size_bytes();
  return total;
}

VisionWeights load_vision_weights(const layers::WeightReader& reader, const VisionConfig& c,
                                  kernels::ComputeType type) {
  const std::string visual = tower_prefix(reader);
  VisionWeights w;
  w.patch_embed = {read_patch_embed(reader, visual, c, type),
                   reader.vector(visual + "patch_embed.proj.bias", c.embed_dim)};
  w.pos_embed = load_positions(reader, c, visual + "pos_embed.weight");
  for (std::int64_t i = 0; i < c.depth; ++i) {
    w.blocks.push_back(load_block(reader, c, visual + "blocks." + std::to_string(i) + ".", type));
  }
  for (std::size_t i = 0; i < c.deepstack_visual_indexes.size(); ++i) {
    const std::string prefix = visual + "deepstack_merger_list." + std::to_string(i) + ".";
    w.deepstack.push_back(load_merger(reader, c, prefix, c.merged_dim(), type));
  }
  w.merger = load_merger(reader, c, visual + "merger.", c.embed_dim, type);
  return w;
}

}  // namespace reelm::vision::qwen3_vl
