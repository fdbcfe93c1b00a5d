#include "vision/qwen2_vl/encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "core/layer_tap.h"
#include "core/throw.h"
#include "core/trace.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "vision/cu_seqlens.h"
#include "vision/qwen2_vl/weights.h"
#include "vision/rotary_table.h"

namespace reelm::vision::qwen2_vl {

namespace {

// LayerNorm(..., eps=1e-6) is written into the reference's code, not into its config.
constexpr float kLayerNormEps = 1e-6f;
// Rows of the MLP done at a time: its hidden activations are 4 times as wide as the residual, so
// all rows of a large slice at once would dominate memory (1,024 rows of 5,120 f32 are 20 MB).
constexpr std::int64_t kMlpRows = 1024;

class Encoder final : public VisionEncoder {
 public:
  Encoder(const VisionConfig& config, std::shared_ptr<const VisionWeights> weights,
          kernels::ComputeType type)
      : config_(config), weights_(std::move(weights)), type_(type) {}

  std::unique_ptr<VisionEncoder> replica() const override {
    return std::make_unique<Encoder>(config_, weights_, type_);
  }
  std::int64_t patch_dim() const override { return config_.patch_dim(); }
  std::int64_t hidden_size() const override { return config_.hidden_size; }
  std::int64_t spatial_merge_size() const override { return config_.spatial_merge_size; }
  std::size_t weight_bytes() const override { return weights_->size_bytes(); }

  std::size_t workspace_bytes(std::int64_t h, std::int64_t w) const override {
    const std::int64_t n = h * w;
    const std::int64_t mlp_rows = std::min(n, kMlpRows);
    return sizeof(float) *
           static_cast<std::size_t>(n * config_.embed_dim * 5 +
                                    mlp_rows * config_.intermediate_size + n * config_.head_dim());
  }

  void encode(const PatchBatch& patches, TensorView<float> out, const CancelToken* cancel) override;

 private:
  void check_sizes(const PatchBatch& patches, TensorView<float> out) const;
  void attention_block(const BlockWeights& block, std::span<const std::int64_t> seqlens);
  void mlp_block(const BlockWeights& block);
  void merge(TensorView<float> out);

  const VisionConfig config_;
  const std::shared_ptr<const VisionWeights> weights_;  // of all replicas
  const kernels::ComputeType type_;
  RotaryTable rotary_;  // of the last h x w

  // Activations of n = t*h*w patches; grown once, then reused.
  AlignedBuffer<float> x_storage_, normed_storage_, qkv_storage_, mlp_storage_;
  TensorView<float> x_;       // [n, embed_dim], the residual
  TensorView<float> normed_;  // [n, embed_dim], normed rows, then attention's output
  TensorView<float> qkv_;     // [n, 3 * embed_dim]
};

void Encoder::check_sizes(const PatchBatch& patches, TensorView<float> out) const {
  const auto [t, h, w] = patches.grid_thw;
  const std::int64_t merge = config_.spatial_merge_size;
  if (t < 1 || h < 1 || w < 1 || h % merge != 0 || w % merge != 0) {
    throw_error(ErrorCode::kInvalidArgument,
                "grid_thw is {}x{}x{}, expected sizes above 0 with h and w multiples of {}", t, h,
                w, merge);
  }
  const std::int64_t n = t * h * w;
  if (patches.pixels.rank() != 2 || patches.pixels.size(0) != n ||
      patches.pixels.size(1) != patch_dim()) {
    throw_error(ErrorCode::kInvalidArgument, "pixels are {}x{}, expected {}x{} for grid {}x{}x{}",
                patches.pixels.size(0), patches.pixels.size(1), n, patch_dim(), t, h, w);
  }
  if (out.rank() != 2 || out.size(0) != n / (merge * merge) || out.size(1) != hidden_size()) {
    throw_error(ErrorCode::kInvalidArgument, "output is {}x{}, expected {}x{}", out.size(0),
                out.size(1), n / (merge * merge), hidden_size());
  }
}

void Encoder::encode(const PatchBatch& patches, TensorView<float> out, const CancelToken* cancel) {
  check_sizes(patches, out);
  const auto [t, h, w] = patches.grid_thw;
  const std::int64_t n = t * h * w;
  const std::int64_t d = config_.embed_dim;
  if (rotary_.h() != h || rotary_.w() != w) {
    rotary_ = RotaryTable(h, w, config_.spatial_merge_size, config_.head_dim(), config_.rope_theta);
  }
  x_storage_.reserve(static_cast<std::size_t>(n * d));
  normed_storage_.reserve(static_cast<std::size_t>(n * d));
  qkv_storage_.reserve(static_cast<std::size_t>(n * 3 * d));
  mlp_storage_.reserve(static_cast<std::size_t>(std::min(n, kMlpRows) * config_.intermediate_size));
  x_ = {x_storage_.data(), {n, d}};
  normed_ = {normed_storage_.data(), {n, d}};
  qkv_ = {qkv_storage_.data(), {n, 3 * d}};

  {
    TraceSpan span("vit.patch_embed");
    weights_->patch_embed.forward(patches.pixels, x_);
  }
  const std::vector<std::int64_t> seqlens = cu_seqlens(patches.grid_thw);
  for (std::size_t i = 0; i < weights_->blocks.size(); ++i) {
    if (cancel != nullptr) cancel->check();
    const auto index = static_cast<std::int64_t>(i);
    const TimelineSpan span("vit.layer", SpanKind::kLayer, {"layer", index});
    attention_block(weights_->blocks[i], seqlens);
    mlp_block(weights_->blocks[i]);
    LayerTap::show(LayerTap::Part::kVision, index, x_);
  }
  merge(out);
}

void Encoder::attention_block(const BlockWeights& block, std::span<const std::int64_t> seqlens) {
  const std::int64_t n = x_.size(0);
  const std::int64_t d = config_.embed_dim;
  const std::int64_t heads = config_.num_heads;
  const std::int64_t head_dim = config_.head_dim();
  {
    TraceSpan span("vit.norm");
    kernels::layer_norm(x_, block.norm1.weight.data(), block.norm1.bias.data(), kLayerNormEps,
                        normed_);
  }
  {
    TraceSpan span("vit.qkv");
    block.qkv.forward(normed_, qkv_);
  }
  // q, k and v are columns of the same rows.
  const auto part = [&](std::int64_t i, std::int64_t first, std::int64_t rows) {
    return TensorView<float>(qkv_.row(first) + i * d, {rows, heads, head_dim},
                             {3 * d, head_dim, 1});
  };
  {
    TraceSpan span("vit.rotary");
    for (std::size_t s = 0; s + 1 < seqlens.size(); ++s) {
      const std::int64_t rows = seqlens[s + 1] - seqlens[s];
      kernels::rotary(part(0, seqlens[s], rows), rotary_.cos(), rotary_.sin());
      kernels::rotary(part(1, seqlens[s], rows), rotary_.cos(), rotary_.sin());
    }
  }
  {
    TraceSpan span("vit.attention");
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    const TensorView<float> mixed(normed_.data(), {n, heads, head_dim});
    kernels::attention_forward_varlen(part(0, 0, n), part(1, 0, n), part(2, 0, n), mixed, seqlens,
                                      seqlens, scale, /*causal=*/false,
                                      kernels::attention_math(type_));
  }
  {
    TraceSpan span("vit.proj");
    block.proj.forward(normed_, x_, kernels::Activation::kNone, /*accumulate=*/true);
  }
}

void Encoder::mlp_block(const BlockWeights& block) {
  const std::int64_t n = x_.size(0);
  const std::int64_t d = config_.embed_dim;
  for (std::int64_t first = 0; first < n; first += kMlpRows) {
    const std::int64_t rows = std::min(kMlpRows, n - first);
    const TensorView<float> x(x_.row(first), {rows, d});
    const TensorView<float> normed(normed_.row(first), {rows, d});
    const TensorView<float> hidden(mlp_storage_.data(), {rows, config_.intermediate_size});
    {
      TraceSpan span("vit.norm");
      kernels::layer_norm(x, block.norm2.weight.data(), block.norm2.bias.data(), kLayerNormEps,
                          normed);
    }
    TraceSpan span("vit.mlp");
    block.fc1.forward(normed, hidden, kernels::Activation::kQuickGelu);
    block.fc2.forward(hidden, x, kernels::Activation::kNone, /*accumulate=*/true);
  }
}

void Encoder::merge(TensorView<float> out) {
  TraceSpan span("vit.merger");
  kernels::layer_norm(x_, weights_->ln_q.weight.data(), weights_->ln_q.bias.data(), kLayerNormEps,
                      normed_);
  // merge^2 neighbours lie in consecutive rows: the concatenation is a view.
  const std::int64_t rows = out.size(0);
  const std::int64_t width =
      config_.embed_dim * config_.spatial_merge_size * config_.spatial_merge_size;
  const TensorView<float> groups(normed_.data(), {rows, width});
  const TensorView<float> hidden(x_.data(), {rows, width});  // x has been read for the last time
  weights_->merger_fc1.forward(groups, hidden, kernels::Activation::kGelu);
  weights_->merger_fc2.forward(hidden, out);
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
