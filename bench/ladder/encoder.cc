#include "bench/ladder/encoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bench/ladder/attention.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/reference/reference.h"
#include "kernels/rotary.h"
#include "vision/cu_seqlens.h"

namespace reelm::bench {

namespace {

constexpr float kLayerNormEps = 1e-6f;  // as in vision/qwen2_vl/encoder.cc

}  // namespace

SwitchedEncoder::SwitchedEncoder(const vision::qwen2_vl::VisionConfig& config,
                                 const vision::qwen2_vl::VisionWeights& weights,
                                 kernels::ComputeType type, const Switches& switches)
    : config_(config), weights_(weights), type_(type), switches_(switches) {}

SwitchedEncoder::GridFacts SwitchedEncoder::facts_of(const GridThw& grid) {
  ++counters_.rotary_tables;
  return {grid,
          vision::RotaryTable(grid[1], grid[2], config_.spatial_merge_size, config_.head_dim(),
                              config_.rope_theta),
          vision::cu_seqlens(grid)};
}

TensorView<float> SwitchedEncoder::part(Tensor& qkv, std::int64_t which, std::int64_t first,
                                        std::int64_t rows) const {
  const std::int64_t d = config_.head_dim();
  return {qkv.row(first) + which * config_.embed_dim,
          {rows, config_.num_heads, d},
          {qkv.width(), d, 1}};
}

void SwitchedEncoder::turn(Tensor& qkv, const GridFacts& facts) {
  const auto rotary = switches_.vision_flash ? &kernels::rotary : &kernels::reference::rotary;
  for (std::size_t s = 0; s + 1 < facts.cu_seqlens.size(); ++s) {
    const std::int64_t first = facts.cu_seqlens[s];
    const std::int64_t rows = facts.cu_seqlens[s + 1] - first;
    rotary(part(qkv, 0, first, rows), facts.rotary.cos(), facts.rotary.sin());
    rotary(part(qkv, 1, first, rows), facts.rotary.cos(), facts.rotary.sin());
  }
}

Tensor SwitchedEncoder::attend(Tensor& qkv, const GridFacts& facts) {
  const std::int64_t n = qkv.rows();
  const float scale = 1.0f / std::sqrt(static_cast<float>(config_.head_dim()));
  Tensor out(n, config_.embed_dim, counters_);
  const TensorView<float> mixed(out.row(0), {n, config_.num_heads, config_.head_dim()});
  const TensorView<const float> q = part(qkv, 0, 0, n), k = part(qkv, 1, 0, n),
                                v = part(qkv, 2, 0, n);
  if (switches_.vision_flash) {
    kernels::attention_forward_varlen(q, k, v, mixed, facts.cu_seqlens, facts.cu_seqlens, scale,
                                      /*causal=*/false, kernels::attention_math(type_));
  } else {
    const Tensor mask = block_mask(facts.cu_seqlens, counters_);
    plain_attention(q, k, v, mask.view(), scale, mixed, counters_);
  }
  return out;
}

Tensor SwitchedEncoder::norm(const Tensor& x, const vision::LayerNormWeights& weights) {
  const auto layer_norm =
      switches_.fused_add_norm ? &kernels::layer_norm : &kernels::reference::layer_norm;
  Tensor out(x.rows(), x.width(), counters_);
  layer_norm(x.view(), weights.weight.data(), weights.bias.data(), kLayerNormEps, out.view());
  return out;
}

void SwitchedEncoder::add_product(Tensor& x, const layers::Linear& layer, const Tensor& in) {
  if (switches_.fused_add_norm) {
    layer.forward(in.view(), x.view(), kernels::Activation::kNone, /*accumulate=*/true);
  } else {
    x = add(x, linear(layer, in.view(), counters_), counters_);
  }
}

void SwitchedEncoder::block(const vision::qwen2_vl::BlockWeights& weights, Tensor& x,
                            const GridThw& grid) {
  GridFacts own;
  if (!switches_.vision_flash) own = facts_of(grid);
  const GridFacts& facts = switches_.vision_flash ? known_ : own;
  Tensor qkv = linear(weights.qkv, norm(x, weights.norm1).view(), counters_);
  turn(qkv, facts);
  add_product(x, weights.proj, attend(qkv, facts));
  add_product(x, weights.fc2,
              linear(weights.fc1, norm(x, weights.norm2).view(), counters_,
                     kernels::Activation::kQuickGelu));
}

void SwitchedEncoder::encode(const PatchBatch& patches, TensorView<float> out) {
  if (switches_.vision_flash && known_.grid != patches.grid_thw)
    known_ = facts_of(patches.grid_thw);
  Tensor x = linear(weights_.patch_embed, patches.pixels, counters_);
  for (const auto& weights : weights_.blocks) block(weights, x, patches.grid_thw);
  const Tensor normed = norm(x, weights_.ln_q);
  const std::int64_t merged = config_.spatial_merge_size * config_.spatial_merge_size;
  const TensorView<const float> groups(normed.row(0),
                                       {normed.rows() / merged, normed.width() * merged});
  const Tensor hidden = linear(weights_.merger_fc1, groups, counters_, kernels::Activation::kGelu);
  weights_.merger_fc2.forward(hidden.view(), out);
}

}  // namespace reelm::bench
