#include "vision/qwen2_5_vl/encoder.h"

#include <utility>

#include "core/trace.h"
#include "kernels/norm.h"
#include "vision/cu_seqlens.h"
#include "vision/qwen2_5_vl/weights.h"
#include "vision/qwen2_5_vl/window_order.h"
#include "vision/tower.h"

namespace reelm::vision::qwen2_5_vl {

namespace {

// RMSNorm(..., eps=1e-6) is written into the reference's code, not into its config.
constexpr float kRmsNormEps = 1e-6f;

/// Patches are in the order of windows from the embedding to the merger, so that a window is a
/// sequence of its own: they are moved twice a call, whatever the depth.
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
  WindowOrder order_;                                   // of the last h x w
  RotaryTable rotary_;                                  // of the same
  std::vector<std::int64_t> slices_, windows_;          // cu_seqlens of all slices
};

void Encoder::embed(const PatchBatch& patches) {
  const auto [t, h, w] = patches.grid_thw;
  if (order_.h() != h || order_.w() != w) {
    const std::int64_t merge = config_.spatial_merge_size;
    order_ = WindowOrder(h, w, merge, config_.window_side());
    rotary_ = RotaryTable(h, w, merge, config_.head_dim(), config_.rope_theta, order_.groups());
  }
  slices_ = cu_seqlens(patches.grid_thw);
  windows_ = order_.cu_seqlens(t);
  TraceSpan span("vit.patch_embed");
  weights_->patch_embed.forward(patches.pixels, normed());
  order_.gather(normed(), x());
}

void Encoder::block(std::int64_t index) {
  const BlockWeights& block = weights_->blocks[static_cast<std::size_t>(index)];
  {
    TraceSpan span("vit.norm");
    kernels::rms_norm(x(), block.norm1.data(), kRmsNormEps, normed());
  }
  attention(block.qkv, block.proj, rotary_, config_.full_attention(index) ? slices_ : windows_);
  mlp([&](TensorView<float> x, TensorView<float> normed, TensorView<float> hidden) {
    {
      TraceSpan span("vit.norm");
      kernels::rms_norm(x, block.norm2.data(), kRmsNormEps, normed);
    }
    TraceSpan span("vit.mlp");
    block.gate_up.forward_gated(normed, hidden);
    block.down_proj.forward(hidden, x, kernels::Activation::kNone, /*accumulate=*/true);
  });
}

void Encoder::merge(TensorView<float> out) {
  kernels::rms_norm(x(), weights_->ln_q.data(), kRmsNormEps, normed());
  order_.scatter(normed(), x());
  merge_rows(x(), normed(), weights_->merger_fc1, weights_->merger_fc2, out);
}

}  // namespace

std::unique_ptr<VisionEncoder> make_encoder(const VisionConfig& config,
                                            const layers::WeightReader& reader,
                                            kernels::ComputeType type) {
  return std::make_unique<Encoder>(
      config, std::make_shared<const VisionWeights>(load_vision_weights(reader, config, type)),
      type);
}

}  // namespace reelm::vision::qwen2_5_vl
