// Where preprocess hands over to vision.
#pragma once

#include <array>
#include <cstdint>

#include "tensor_view.h"

namespace reelm {

/// {t, h, w} of one image or video in patches: t temporal patches of h x w spatial ones
/// (`image_grid_thw` / `video_grid_thw` of transformers).
using GridThw = std::array<std::int64_t, 3>;

/// Rows of patches in the order of Qwen2VLVideoProcessor.patchify: grid (t, h/m, w/m, m, m) with
/// m = merge_size, each row [channel, temporal_patch_size, patch_size, patch_size].
struct PatchBatch {
  TensorView<const float> pixels;  // [t*h*w, channels*temporal_patch_size*patch_size^2], normalised
  GridThw grid_thw{};              // of these rows; a slice of a longer video has t = 1
};

}  // namespace reelm
