// Qwen2-VL's vision tower for the ladder's lower rungs: plain where a switch is off.
#pragma once

#include <cstdint>
#include <vector>

#include "bench/ladder/switches.h"
#include "bench/ladder/tensor.h"
#include "core/patch_batch.h"
#include "vision/qwen2_vl/config.h"
#include "vision/qwen2_vl/weights.h"
#include "vision/rotary_table.h"

namespace reelm::bench {

/// Takes all slices of a video at once, as transformers does; what ships is
/// vision/qwen2_vl/encoder.cc. Matrix products are the fast ones at every rung. Nothing is checked.
class SwitchedEncoder {
 public:
  /// `weights` are of `type` (not quantised) and outlive the encoder.
  SwitchedEncoder(const vision::qwen2_vl::VisionConfig& config,
                  const vision::qwen2_vl::VisionWeights& weights, kernels::ComputeType type,
                  const Switches& switches);

  /// As VisionEncoder::encode.
  void encode(const PatchBatch& patches, TensorView<float> out);

  const Counters& counters() const { return counters_; }

 private:
  /// What follows from a grid alone.
  struct GridFacts {
    GridThw grid{};
    vision::RotaryTable rotary;
    std::vector<std::int64_t> cu_seqlens;
  };

  GridFacts facts_of(const GridThw& grid);
  /// Heads of q (0), k (1) or v (2): [rows, heads, head_dim] from row `first` on.
  TensorView<float> part(Tensor& qkv, std::int64_t which, std::int64_t first,
                         std::int64_t rows) const;
  void turn(Tensor& qkv, const GridFacts& facts);
  Tensor attend(Tensor& qkv, const GridFacts& facts);
  Tensor norm(const Tensor& x, const vision::LayerNormWeights& weights);
  /// x += layer(in).
  void add_product(Tensor& x, const layers::Linear& layer, const Tensor& in);
  void block(const vision::qwen2_vl::BlockWeights& weights, Tensor& x, const GridThw& grid);

  const vision::qwen2_vl::VisionConfig& config_;
  const vision::qwen2_vl::VisionWeights& weights_;
  const kernels::ComputeType type_;
  const Switches switches_;
  Counters counters_;
  GridFacts known_;  // of the last grid, where they are made outside of the tower
};

}  // namespace reelm::bench
