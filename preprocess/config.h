// The preprocessor settings that come with a model.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "../core/limits.h"
#include "../core/model_files.h"

namespace reelm::preprocess {

/// Settings of Qwen2VLImageProcessor and Qwen2VLVideoProcessor (transformers). The defaults are
/// those of a model directory without any preprocessor file. An empty optional means "the file does
/// not say": the reference's constant applies (see sampling.h).
struct PreprocessorConfig {
  std::int64_t patch_size = 14;          ///< pixels on each side of a patch
  std::int64_t temporal_patch_size = 2;  ///< frames in a temporal patch
  std::int64_t merge_size = 2;           ///< patches on each side of one vision token
  std::array<double, 3> image_mean = {0.48145466, 0.4578275, 0.40821073};  ///< RGB, of [0, 1]
  std::array<double, 3> image_std = {0.26862954, 0.26130258, 0.27577711};  ///< RGB, of [0, 1]
  double rescale_factor = 1.0 / 255.0;

  std::optional<std::int64_t> image_min_pixels;  ///< pixels of an image after resizing
  std::optional<std::int64_t> image_max_pixels;
  std::optional<std::int64_t> video_min_pixels;  ///< pixels of one video frame after resizing
  std::optional<std::int64_t> video_max_pixels;
  /// The file is of a Qwen3VLVideoProcessor: video_min_pixels and video_max_pixels are of all
  /// frames of a video together. Only reference kHf goes by them (sampling_clip.h): qwen-vl-utils
  /// bounds single frames.
  bool bounds_whole_clips = false;

  std::optional<double> fps;               ///< frames to sample per second of video
  std::optional<std::int64_t> num_frames;  ///< frames to sample from a whole video
  std::optional<std::int64_t> min_frames;
  std::optional<std::int64_t> max_frames;
  /// Qwen2VLVideoProcessor's share of `max_video_tokens` per frame; off when the file says nothing.
  bool cap_pixels_per_frame = false;
  std::int64_t max_video_tokens = 128'000;  ///< of a frame (768) where whole clips are bounded

  /// Pixels on each side of one vision token: sizes are rounded to multiples of it (28).
  std::int64_t factor() const noexcept { return patch_size * merge_size; }
};

/// Reads `processor_config.json`, `video_preprocessor_config.json` and `preprocessor_config.json`
/// of a model, each of them optional. Image limits come from preprocessor_config.json (or
/// the `image_processor` of processor_config.json); video limits only from a file or section
/// written for video: `video_processor` of processor_config.json, video_preprocessor_config.json,
/// or a preprocessor_config.json that names a `video_processor_type`. Limits are spelt `size:
/// {shortest_edge, longest_edge}` or `min_pixels`/`max_pixels`; the latter win, as in transformers.
/// Throws Error: kNotFound (no such directory), kFormat (wrong types or values; names file and
/// key), kUnsupported (do_resize, do_rescale or do_normalize switched off, a filter other than
/// bicubic), kLimit.
PreprocessorConfig load_preprocessor_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::preprocess
