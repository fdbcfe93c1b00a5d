// From frames to patches in passes of their own, against the one pass that ships.
#pragma once

#include <cstdint>

#include "bench/workload.h"
#include "core/limits.h"
#include "pipeline/model.h"
#include "preprocess/sampling.h"

namespace reelm::bench {

/// Milliseconds a frame, medians over the turns. The separate passes are plain loops, each into a
/// buffer of its own; resizing is the same code for both forms.
struct PreprocessingTimes {
  preprocess::Size source;         ///< of the last frame
  preprocess::Size resized;        ///< the same
  double resize_ms = 0.0;          ///< to u8 [h, w, 3]
  double rescale_ms = 0.0;         ///< to f32 [h, w, 3], x * rescale_factor
  double normalise_ms = 0.0;       ///< (x - mean) / std
  double cut_ms = 0.0;             ///< into patches
  double fused_ms = 0.0;           ///< preprocess::patchify: the last three in one pass
  double max_difference = 0.0;     ///< of the patches of both forms
  double largest_patch_value = 0;  ///< of the separate form: what the difference is to be held to

  double separate_total_ms() const { return resize_ms + rescale_ms + normalise_ms + cut_ms; }
  double fused_total_ms() const { return resize_ms + fused_ms; }
  double gain() const { return separate_total_ms() / fused_total_ms(); }
};

/// Over the frames that the model sees of workload.media; where there is none, two made-up frames
/// of twice the grid's pixels along each side. `workload.repeat` turns. Throws as reading media.
PreprocessingTimes measure_preprocessing(const pipeline::Model& model, const Workload& workload,
                                         const Limits& limits);

}  // namespace reelm::bench
