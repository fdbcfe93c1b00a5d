// From a planned media to normalised patches, one temporal slice at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "../core/aligned_buffer.h"
#include "../core/cancel.h"
#include "../core/limits.h"
#include "../core/patch_batch.h"
#include "../core/tensor_view.h"
#include "config.h"
#include "frame_reader.h"
#include "media.h"
#include "plan.h"

namespace reelm::preprocess {

/// A stream of slices of temporal_patch_size frames. Memory does not depend on the video's length:
/// one source frame, one slice of resized frames, one slice of patches.
class PatchReader {
 public:
  /// `media` and `cancel` outlive the reader.
  /// Throws Error: kInvalidArgument (a plan that does not fit `media` or `config`), kOutOfMemory,
  /// and what FrameReader throws.
  PatchReader(Media& media, MediaPlan plan, const PreprocessorConfig& config,
              const Limits& limits = {}, const CancelToken* cancel = nullptr);
  PatchReader(PatchReader&&) noexcept;
  PatchReader& operator=(PatchReader&&) noexcept;
  ~PatchReader();

  /// The next slice: pixels [h*w, 3*temporal_patch_size*patch_size^2], grid_thw {1, h, w}. False
  /// after the last (grid_thw[0] of the plan in all). The view is valid until the next call.
  /// Throws as FrameReader::next.
  bool next(PatchBatch& slice);
  /// The same with the pixels in `pixels`, which grows when it has to: they stay there whatever the
  /// reader does next. Throws also kOutOfMemory.
  bool next(PatchBatch& slice, AlignedBuffer<float>& pixels);

  /// Resized RGB frames of the current slice, [temporal_patch_size, resized height, width, 3];
  /// valid until the next call of next().
  TensorView<const std::uint8_t> frames() const noexcept;
  /// True seconds of those frames: temporal_patch_size values out of plan().frame_pts.
  std::vector<double> frame_pts() const;
  /// Number of the current slice, from 0; -1 before the first.
  std::int64_t slice_index() const noexcept;

  const MediaPlan& plan() const noexcept;
  /// Those of the plan, then those of decoding so far; complete after the last slice.
  std::vector<std::string> warnings() const;
  StageTimes times() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::preprocess
