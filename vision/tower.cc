#include "vision/tower.h"

#include <cmath>

#include "core/layer_tap.h"
#include "core/throw.h"
#include "core/trace.h"
#include "kernels/attention.h"
#include "kernels/rotary.h"

namespace reelm::vision {

std::size_t Tower::workspace_bytes(std::int64_t h, std::int64_t w) const {
  const std::int64_t n = h * w;
  const std::int64_t mlp_rows = std::min(n, kMlpRows);
  return sizeof(float) *
         static_cast<std::size_t>(n * sizes_.embed_dim * 5 + mlp_rows * sizes_.intermediate_size +
                                  n * sizes_.head_dim());
}

void Tower::check_sizes(const PatchBatch& patches, TensorView<float> out) const {
  const auto [t, h, w] = patches.grid_thw;
  const std::int64_t merge = sizes_.spatial_merge_size;
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
  if (out.rank() != 2 || out.size(0) != n / (merge * merge) || out.size(1) != row_size()) {
    throw_error(ErrorCode::kInvalidArgument, "output is {}x{}, expected {}x{}", out.size(0),
                out.size(1), n / (merge * merge), row_size());
  }
}

void Tower::size_workspace(std::int64_t n) {
  const std::int64_t d = sizes_.embed_dim;
  x_storage_.reserve(static_cast<std::size_t>(n * d));
  normed_storage_.reserve(static_cast<std::size_t>(n * d));
  qkv_storage_.reserve(static_cast<std::size_t>(n * 3 * d));
  mlp_storage_.reserve(static_cast<std::size_t>(std::min(n, kMlpRows) * sizes_.intermediate_size));
  x_ = {x_storage_.data(), {n, d}};
  normed_ = {normed_storage_.data(), {n, d}};
  qkv_ = {qkv_storage_.data(), {n, 3 * d}};
}

void Tower::encode(const PatchBatch& patches, TensorView<float> out, const CancelToken* cancel) {
  check_sizes(patches, out);
  size_workspace(patches.pixels.size(0));
  out_ = out;
  embed(patches);
  for (std::int64_t i = 0; i < sizes_.depth; ++i) {
    if (cancel != nullptr) cancel->check();
    const TimelineSpan span("vit.layer", SpanKind::kLayer, {"layer", i});
    block(i);
    LayerTap::show(LayerTap::Part::kVision, i, x_);
  }
  TraceSpan span("vit.merger");
  merge({out.data(), {out.size(0), hidden_size()}, {out.stride(0), 1}});
}

void Tower::attention(const layers::Linear& qkv, const layers::Linear& proj,
                      const RotaryTable& rotary, std::span<const std::int64_t> cu_seqlens) {
  const std::int64_t n = x_.size(0);
  const std::int64_t d = sizes_.embed_dim;
  const std::int64_t heads = sizes_.num_heads;
  const std::int64_t head_dim = sizes_.head_dim();
  {
    TraceSpan span("vit.qkv");
    qkv.forward(normed_, qkv_);
  }
  // q, k and v are columns of the same rows.
  const auto part = [&](std::int64_t i, std::int64_t first, std::int64_t rows) {
    return TensorView<float>(qkv_.row(first) + i * d, {rows, heads, head_dim},
                             {3 * d, head_dim, 1});
  };
  {
    TraceSpan span("vit.rotary");
    const std::int64_t slice = rotary.h() * rotary.w();
    for (std::int64_t first = 0; first < n; first += slice) {
      kernels::rotary(part(0, first, slice), rotary.cos(), rotary.sin());
      kernels::rotary(part(1, first, slice), rotary.cos(), rotary.sin());
    }
  }
  {
    TraceSpan span("vit.attention");
    const float scale = 1.0f / std::sqrt(static_cast<float>(head_dim));
    const TensorView<float> mixed(normed_.data(), {n, heads, head_dim});
    kernels::attention_forward_varlen(part(0, 0, n), part(1, 0, n), part(2, 0, n), mixed,
                                      cu_seqlens, cu_seqlens, scale, /*causal=*/false,
                                      kernels::attention_math(type_));
  }
  TraceSpan span("vit.proj");
  proj.forward(normed_, x_, kernels::Activation::kNone, /*accumulate=*/true);
}

void Tower::merge_rows(TensorView<float> rows, TensorView<float> hidden, const layers::Linear& fc1,
                       const layers::Linear& fc2, TensorView<float> out) const {
  // merge^2 neighbours lie in consecutive rows: the concatenation is a view.
  const TensorView<float> groups(rows.data(), {out.size(0), sizes_.merged_dim()});
  const TensorView<float> between(hidden.data(), {out.size(0), sizes_.merged_dim()});
  fc1.forward(groups, between, kernels::Activation::kGelu);
  fc2.forward(between, out);
}

}  // namespace reelm::vision
