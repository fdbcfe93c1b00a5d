// Frames and sizes as Qwen3VLVideoProcessor of transformers chooses them: its bounds are of all
// frames of a video together. Not installed.
#pragma once

#include <cstdint>
#include <vector>

#include "preprocess/config.h"
#include "preprocess/sampling.h"

namespace reelm::preprocess {

/// How many frames sample_frames takes of `total` at `video_fps`; odd numbers too. Throws
/// Error{kInvalidArgument} as frame_count.
std::int64_t clip_frame_count(std::int64_t total, double video_fps, const SamplingOptions& options);

/// Those frames: numpy.linspace(first, last, n).round() in double.
std::vector<std::int64_t> clip_frame_indices(FrameRange range, std::int64_t n);

/// smart_resize of transformers 5.23's video_processing_qwen3_vl.py for `n_frames` frames of
/// `source`: bounds are the config's, else the processor's constants; those of `options` are of a
/// frame. Throws Error{kInvalidArgument}: a side < 1, aspect ratio over 200.
Size clip_size(Size source, std::int64_t n_frames, const PreprocessorConfig& config,
               const SamplingOptions& options);

}  // namespace reelm::preprocess
