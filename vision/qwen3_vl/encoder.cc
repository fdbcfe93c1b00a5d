#include "vision/qwen3_vl/encoder.h"

#include <algorithm>
#include <utility>

#include "core/trace.h"
#include "vision/cu_seqlens.h"
#include "vision/qwen3_vl/position_grid.h"
#include "vision/qwen3_vl/weights.h"
#include "vision/tower.h"

namespace reelm::vision::qwen3_vl {

namespace {

class Encoder final : public Tower {
 public:
  Encoder(const VisionConfig& config, std::shared_ptr<const VisionWeights> weights,
          kernels::ComputeType type)
      : Tower(config, type), config_(config), weights_(std::move(weights)) {}

  std::unique_ptr<VisionEncoder> replica() const override {
    return std::make_unique<Encoder>(config_, weights_, type());
  }
  std::int64_t deepstack_layers() const override {
    return std::ssize(config_.deepstack_visual_indexes);
  }
  std::size_t weight_bytes() const override { return weights_->size_bytes(); }

 private:
  void embed(const PatchBatch& patches) override;
  void block(std::int64_t index) override;
  void merge(TensorView<float> out) override;
  /// The features behind a block, where it is one that has some.
  void deepstack_behind(std::int64_t block);

  const VisionConfig config_;
  const std::shared_ptr<const VisionWeights> weights_;  // of all replicas
  RotaryTable rotary_;                                  // of the last h x w
  std::vector<std::int64_t> slices_;
};

void Encoder::embed(const PatchBatch& patches) {
  const auto [t, h, w] = patches.grid_thw;
  const std::int64_t merge = config_.spatial_merge_size;
  if (rotary_.h() != h || rotary_.w() != w) {
    rotary_ = RotaryTable(h, w, merge, config_.head_dim(), config_.rope_theta);
  }
  slices_ = cu_seqlens(patches.grid_thw);
  TraceSpan span("vit.patch_embed");
  weights_->patch_embed.forward(patches.pixels, x());
  add_positions({weights_->pos_embed.data(), {config_.num_position_embeddings, config_.embed_dim}},
                config_.grid_side(), h, w, merge, x());
}

void Encoder::block(std::int64_t index) {
  const BlockWeights& block = weights_->blocks[static_cast<std::size_t>(index)];
  {
    TraceSpan span("vit.norm");
    layer_norm(x(), block.norm1, normed());
  }
  attention(block.qkv, block.proj, rotary_, slices_);
  mlp([&](TensorView<float> x, TensorView<float> normed, TensorView<float> hidden) {
    {
      TraceSpan span("vit.norm");
      layer_norm(x, block.norm2, normed);
    }
    TraceSpan span("vit.mlp");
    block.linear_fc1.forward(normed, hidden, kernels::Activation::kGeluTanh);
    block.linear_fc2.forward(hidden, x, kernels::Activation::kNone, /*accumulate=*/true);
  });
  deepstack_behind(index);
}

void Encoder::deepstack_behind(std::int64_t block) {
  const auto& blocks = config_.deepstack_visual_indexes;
  const auto found = std::find(blocks.begin(), blocks.end(), block);
  if (found == blocks.end()) return;
  TraceSpan span("vit.merger");
  const std::int64_t index = found - blocks.begin();
  const MergerWeights& merger = weights_->deepstack[static_cast<std::size_t>(index)];
  const TensorView<float> out = deepstack(index);
  // merge^2 neighbours lie in consecutive rows: what is normed is a view.
  const auto merged = [&](TensorView<float> rows) {
    return TensorView<float>(rows.data(), {out.size(0), config_.merged_dim()});
  };
  layer_norm(merged(x()), merger.norm, merged(normed()));
  merge_rows(normed(), spare(), merger.linear_fc1, merger.linear_fc2, out);
}

void Encoder::merge(TensorView<float> out) {
  const MergerWeights& merger = weights_->merger;
  layer_norm(x(), merger.norm, normed());
  merge_rows(normed(), x(), merger.linear_fc1, merger.linear_fc2, out);
}

}  // namespace

std::unique_ptr<VisionEncoder> make_encoder(const VisionConfig& config,
                                            const layers::WeightReader& reader,
                                            kernels::ComputeType type) {
  return std::make_unique<Encoder>(
      config, std::make_shared<const VisionWeights>(load_vision_weights(reader, config, type)),
      type);
}

}  // namespace reelm::vision::qwen3_vl
