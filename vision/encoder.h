// What the pipeline knows of a vision tower.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "../core/cancel.h"
#include "../core/patch_batch.h"
#include "../core/tensor_view.h"

namespace reelm::vision {

/// Turns patches into rows of the decoder's embedding space. One forward pass at a time per
/// encoder.
class VisionEncoder {
 public:
  virtual ~VisionEncoder() = default;

  /// Another encoder over the same weights, with a workspace of its own: the two may encode at the
  /// same time. Throws Error{kOutOfMemory}.
  virtual std::unique_ptr<VisionEncoder> replica() const = 0;

  /// Width of a patch row: channels * temporal_patch_size * patch_size^2.
  virtual std::int64_t patch_dim() const = 0;
  /// Width of an output row: the decoder's hidden_size.
  virtual std::int64_t hidden_size() const = 0;
  /// First layers of the decoder that features of the tower's inner blocks are added behind, a row
  /// of hidden_size for each and each output row; in most families none.
  virtual std::int64_t deepstack_layers() const { return 0; }
  /// Width of what encode writes for an output row: its own values, then those features.
  std::int64_t row_size() const { return (1 + deepstack_layers()) * hidden_size(); }
  /// Patches along each side that are merged into one output row.
  virtual std::int64_t spatial_merge_size() const = 0;

  /// patches.pixels [t*h*w, patch_dim] -> out [t*h*w / merge^2, row_size]. Attention stays
  /// inside each of the t slices, so a long video may be encoded slice by slice with the same
  /// result. Throws Error{kInvalidArgument} when the sizes do not fit, {kCancelled} between blocks
  /// when `cancel` (may be null) stopped, {kOutOfMemory}.
  virtual void encode(const PatchBatch& patches, TensorView<float> out,
                      const CancelToken* cancel) = 0;

  /// Bytes of the weights as held in memory.
  virtual std::size_t weight_bytes() const = 0;
  /// Bytes of activations that encoding one slice of h x w patches takes.
  virtual std::size_t workspace_bytes(std::int64_t h, std::int64_t w) const = 0;
};

}  // namespace reelm::vision
