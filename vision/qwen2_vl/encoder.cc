#include "vision/qwen2_vl/encoder.h"

#include <utility>

#include "core/trace.h"
#include "vision/cu_seqlens.h"
#include "vision/qwen2_vl/weights.h"
#include "vision/tower.h"

namespace reelm::vision::qwen2_vl {

namespace {

class Encoder final : public Tower {
 public:
  Encoder(const VisionConfig& config, std::shared_ptr<const VisionWeights> weights,
          kernels::ComputeType type)
      : Tower(config, type), config_(config), weights_(std::move(weights)) {}

  std::unique_ptr<VisionEncoder> replica() const override {
    return std::make_unique<Encoder>(config_, weights_, type());
  }
  std::size_t weight_bytes() const override { return weights_->size_bytes(); }

 private:
  void embed(const PatchBatch& patches) override;
  void block(std::int64_t index) override;
  void merge(TensorView<float> out) override;

  const VisionConfig config_;
  const std::shared_ptr<const VisionWeights> weights_;  // of all replicas
  RotaryTable rotary_;                                  // of the last h x w
  std::vector<std::int64_t> slices_;
};

void Encoder::embed(const PatchBatch& patches) {
  const auto [t, h, w] = patches.grid_thw;
  if (rotary_.h() != h || rotary_.w() != w) {
    rotary_ = RotaryTable(h, w, config_.spatial_merge_size, config_.head_dim(), config_.rope_theta);
  }
  slices_ = cu_seqlens(patches.grid_thw);
  TraceSpan span("vit.patch_embed");
  weights_->patch_embed.forward(patches.pixels, x());
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
    block.fc1.forward(normed, hidden, kernels::Activation::kQuickGelu);
    block.fc2.forward(hidden, x, kernels::Activation::kNone, /*accumulate=*/true);
  });
}

void Encoder::merge(TensorView<float> out) {
  layer_norm(x(), weights_->ln_q, normed());
  merge_rows(normed(), x(), weights_->merger_fc1, weights_->merger_fc2, out);
}

}  // namespace

std::unique_ptr<VisionEncoder> make_encoder(const VisionConfig& config,
                                            const layers::WeightReader& reader,
                                            kernels::ComputeType type) {
  return std::make_unique<Encoder>(
      config, std::make_shared<const VisionWeights>(load_vision_weights(reader, config, type)),
      type);
}

}  // namespace reelm::vision::qwen2_vl
