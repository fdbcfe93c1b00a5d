// What will be read from a media and what it will cost, before any frame is decoded.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/limits.h"
#include "../core/patch_batch.h"
#include "config.h"
#include "media.h"
#include "sampling.h"

namespace reelm::preprocess {

struct MediaPlan {
  bool is_image = false;
  Reference reference = Reference::kQwenVlUtils;
  /// Frames to take, in order and numbered as shown; a multiple of temporal_patch_size of them,
  /// with repeats where the video is too short. An image: {0, 0}.
  std::vector<std::int64_t> frame_indices;
  /// Of a video, for each temporal patch: seconds from the start in the middle of its frames, as
  /// the reference counts them (frame number / video_fps); with SampleBy::kTime true ones.
  std::vector<double> slice_seconds;
  std::vector<double> frame_pts;  ///< true seconds of each on the stream's clock; an image: zeros
  std::int64_t total_frames = 0;  ///< frames of the whole video; an image: 1
  FrameRange range;               ///< the part sampled from
  double start_seconds = 0;       ///< first frame of the whole video
  double duration_seconds = 0;    ///< of the whole video: end of its last frame - start
  double video_fps = 0;           ///< as the reference is told
  double sample_fps = 0;          ///< frames taken per second; an image: 0
  Size source;         ///< of a frame, after rotation; with square_pixels the size it is shown at
  Size resized;        ///< multiples of patch_size * merge_size
  GridThw grid_thw{};  ///< patches
  std::int64_t n_vision_tokens = 0;  ///< t*h*w / merge_size^2
  /// Bytes of frames that decoding may hold at a time, at most: those of the decoder's threads, its
  /// references, and the RGB of one.
  std::int64_t decoding_bytes = 0;
  std::vector<std::string> warnings;  ///< one line each

  std::int64_t n_slices() const noexcept { return grid_thw[0]; }
};

/// Plans `media`. Pixel and frame limits come from `options`, else from `config`, else they are the
/// reference's constants; fps likewise.
/// Throws Error: kInvalidArgument (options that contradict each other or leave no frame),
/// kUnsupported (an aspect ratio over 200, or a side that no limit leaves room for), kLimit
/// (frames_kept), and what Media::frame_index throws.
MediaPlan plan_media(Media& media, const PreprocessorConfig& config,
                     const SamplingOptions& options = {}, const Limits& limits = {},
                     const CancelToken* cancel = nullptr);

}  // namespace reelm::preprocess
