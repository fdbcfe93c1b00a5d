// How a decoder tells queries and keys their positions: a family's choice. Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/tensor_view.h"
#include "llm/kv_cache.h"

namespace reelm::llm {

/// Immutable; safe to share by threads.
class PositionEncoding {
 public:
  virtual ~PositionEncoding() = default;

  /// Angles of a forward pass: fills cos and sin [n, head_dim / 2] for position_ids [3, n]. The
  /// rows are all of the one sequence in `caches`, or one of each.
  virtual void table(TensorView<const std::int64_t> position_ids, std::span<KvCache* const> caches,
                     TensorView<float> cos, TensorView<float> sin) const = 0;

  /// Whether the angles of a sequence that began with a prompt of `prompt_length` are those of one
  /// that begins with `length` tokens.
  virtual bool same_angles(std::int64_t /*prompt_length*/, std::int64_t /*length*/) const {
    return true;
  }

  /// What else a position does to a layer's queries [n, heads, head_dim], turned already.
  virtual void scale_queries(TensorView<const std::int64_t> /*position_ids*/,
                             TensorView<float> /*queries*/) const {}
};

/// M-RoPE (mrope_table); with the sections {head_dim / 2, 0, 0} 1-D RoPE.
class MropeEncoding final : public PositionEncoding {
 public:
  MropeEncoding(double rope_theta, std::int64_t head_dim, std::vector<std::int64_t> mrope_section);

  void table(TensorView<const std::int64_t> position_ids, std::span<KvCache* const> caches,
             TensorView<float> cos, TensorView<float> sin) const override;

 private:
  std::vector<float> inv_freq_;  // [head_dim / 2]
  std::vector<std::int64_t> mrope_section_;
};

}  // namespace reelm::llm
