// What the vision transformers of all families share: the way through the blocks, activations,
// attention and the merger. Not installed.
#pragma once

#include <algorithm>
#include <span>

#include "core/aligned_buffer.h"
#include "kernels/matmul.h"
#include "layers/linear.h"
#include "vision/encoder.h"
#include "vision/rotary_table.h"
#include "vision/tower_sizes.h"

namespace reelm::vision {

/// A vision transformer without its blocks: a family derives from it and says what is done before,
/// in and behind them, over the steps below.
class Tower : public VisionEncoder {
 public:
  std::int64_t patch_dim() const final { return sizes_.patch_dim(); }
  std::int64_t hidden_size() const final { return sizes_.hidden_size; }
  std::int64_t spatial_merge_size() const final { return sizes_.spatial_merge_size; }
  std::size_t workspace_bytes(std::int64_t h, std::int64_t w) const override;
  void encode(const PatchBatch& patches, TensorView<float> out, const CancelToken* cancel) final;

 protected:
  Tower(const TowerSizes& sizes, kernels::ComputeType type) : sizes_(sizes), type_(type) {}

  /// Fills x() from the patches, and gets ready what blocks need of their grid.
  virtual void embed(const PatchBatch& patches) = 0;
  /// One block over x().
  virtual void block(std::int64_t index) = 0;
  /// x() -> out [n / merge^2, hidden_size].
  virtual void merge(TensorView<float> out) = 0;

  /// Where deep-stack features go: those for layer `index` of the decoder [n / merge^2,
  /// hidden_size], to be written by the blocks.
  TensorView<float> deepstack(std::int64_t index) const {
    return {out_.data() + (1 + index) * sizes_.hidden_size,
            {out_.size(0), sizes_.hidden_size},
            {out_.stride(0), 1}};
  }

  kernels::ComputeType type() const { return type_; }
  TensorView<float> x() const { return x_; }            // [n, embed_dim], the residual
  TensorView<float> normed() const { return normed_; }  // [n, embed_dim], for what is behind a norm
  TensorView<float> spare() const {                     // [n, embed_dim], free outside of attention
    return {qkv_.data(), {x_.size(0), sizes_.embed_dim}};
  }

  /// x += proj(attention(qkv(normed))), inside each of the sequences. `rotary` is of one slice, in
  /// the order of its rows. Overwrites normed.
  void attention(const layers::Linear& qkv, const layers::Linear& proj, const RotaryTable& rotary,
                 std::span<const std::int64_t> cu_seqlens);

  /// step(x, normed, hidden) for some rows after the others: hidden [rows, intermediate_size].
  template <class Step>
  void mlp(Step&& step) {
    for (std::int64_t first = 0; first < x_.size(0); first += kMlpRows) {
      const std::int64_t rows = std::min(kMlpRows, x_.size(0) - first);
      step(TensorView<float>(x_.row(first), {rows, sizes_.embed_dim}),
           TensorView<float>(normed_.row(first), {rows, sizes_.embed_dim}),
           TensorView<float>(mlp_storage_.data(), {rows, sizes_.intermediate_size}));
    }
  }

  /// fc2(gelu(fc1(merge^2 rows of `rows` behind each other))). Overwrites `hidden`, as large.
  void merge_rows(TensorView<float> rows, TensorView<float> hidden, const layers::Linear& fc1,
                  const layers::Linear& fc2, TensorView<float> out) const;

 private:
  // Rows of the MLP done at a time: its hidden activations are up to 4 times as wide as the
  // residual, so all rows of a large slice at once would dominate memory (1,024 rows of 5,120 f32
  // are 20 MB).
  static constexpr std::int64_t kMlpRows = 1024;

  void check_sizes(const PatchBatch& patches, TensorView<float> out) const;
  void size_workspace(std::int64_t n);

  const TowerSizes sizes_;
  const kernels::ComputeType type_;
  // Activations of n = t*h*w patches; grown once, then reused.
  AlignedBuffer<float> x_storage_, normed_storage_, qkv_storage_, mlp_storage_;
  TensorView<float> x_, normed_;
  TensorView<float> qkv_;  // [n, 3 * embed_dim]
  TensorView<float> out_;  // [n / merge^2, row_size], of the call under way
};

}  // namespace reelm::vision
