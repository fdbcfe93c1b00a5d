#include "preprocess/plan.h"

#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "preprocess/frame_budget.h"
#include "preprocess/image.h"
#include "preprocess/media_impl.h"
#include "preprocess/sampling_clip.h"

namespace reelm::preprocess {
namespace {

/// Options with the config's values where they say nothing.
SamplingOptions with_config(const SamplingOptions& options, const PreprocessorConfig& config,
                            bool image) {
  SamplingOptions o = options;
  const bool of_frames = image || !config.bounds_whole_clips;
  if (!o.min_pixels && of_frames) {
    o.min_pixels = image ? config.image_min_pixels : config.video_min_pixels;
  }
  if (!o.max_pixels && of_frames) {
    o.max_pixels = image ? config.image_max_pixels : config.video_max_pixels;
  }
  // A bound that was asked for moves one that was not: --max-pixels below the model's minimum is
  // meant, not a contradiction.
  if (options.max_pixels && !options.min_pixels && o.min_pixels) {
    o.min_pixels = std::min(*o.min_pixels, *o.max_pixels);
  }
  if (options.min_pixels && !options.max_pixels && o.max_pixels) {
    o.max_pixels = std::max(*o.max_pixels, *o.min_pixels);
  }
  if (image) return o;
  if (!o.min_frames) o.min_frames = config.min_frames;
  if (!o.max_frames) o.max_frames = config.max_frames;
  if (!o.fps && !o.frames) {
    o.frames = config.num_frames;
    if (!o.frames) o.fps = config.fps;
  }
  return o;
}

void finish_grid(MediaPlan& plan, const PreprocessorConfig& config, std::int64_t n_frames) {
  plan.grid_thw = {n_frames / config.temporal_patch_size, plan.resized.height / config.patch_size,
                   plan.resized.width / config.patch_size};
  plan.n_vision_tokens = plan.grid_thw[0] * plan.grid_thw[1] * plan.grid_thw[2] /
                         (config.merge_size * config.merge_size);
}

Size upright_size(const StreamInfo& s, bool square_pixels) {
  Size size{s.height, s.width};
  if (square_pixels) {  // the longer side grows: nothing that was coded is lost
    const double aspect = s.sample_aspect_ratio;
    if (aspect > 1) size.width = std::llround(static_cast<double>(s.width) * aspect);
    if (aspect < 1) size.height = std::llround(static_cast<double>(s.height) / aspect);
  }
  const bool swapped = s.rotation == 90 || s.rotation == 270;
  return swapped ? Size{size.width, size.height} : size;
}

/// What `size` gives, with an error that names the media: one that no limit leaves room for is not
/// the caller's mistake.
template <class SizeOf>
Size naming(const std::string& name, SizeOf&& size, bool limits_fit = true) {
  try {
    return size();
  } catch (const Error& e) {
    throw_error(limits_fit ? ErrorCode::kUnsupported : e.code(), "{}: {}", name, e.what());
  }
}

Size target_size(const MediaPlan& plan, const PreprocessorConfig& config, const PixelLimits& limits,
                 const std::string& name) {
  return naming(
      name,
      [&] {
        return smart_resize(plan.source, config.factor(), limits.min_pixels, limits.max_pixels,
                            plan.reference);
      },
      limits.max_pixels >= static_cast<double>(limits.min_pixels));
}

void plan_image(Media& media, const PreprocessorConfig& config, const SamplingOptions& options,
                MediaPlan& plan) {
  const SamplingOptions o = with_config(options, config, true);
  const PixelLimits limits = image_pixel_limits(config.factor(), o);
  plan.is_image = true;
  plan.source = media.impl().image_sizes[static_cast<std::size_t>(o.reference)];
  plan.total_frames = 1;
  plan.resized = target_size(plan, config, limits, media.info().name);
  // The frame is repeated to fill the temporal patch.
  plan.frame_indices.assign(static_cast<std::size_t>(config.temporal_patch_size), 0);
  plan.frame_pts.assign(static_cast<std::size_t>(config.temporal_patch_size), 0.0);
  finish_grid(plan, config, config.temporal_patch_size);
}

/// Qwen3VLProcessor._calculate_timestamps (transformers 5.23).
std::vector<double> slice_seconds(const MediaPlan& plan, const FrameIndex& index,
                                  std::int64_t factor, SampleBy sample) {
  const auto seconds = [&](std::size_t i) {
    return sample == SampleBy::kTime ? plan.frame_pts[i] - index.pts.front()
                                     : static_cast<double>(plan.frame_indices[i]) / index.fps;
  };
  std::vector<double> out;
  const auto step = static_cast<std::size_t>(factor);
  for (std::size_t i = 0; i + step <= plan.frame_indices.size(); i += step) {
    out.push_back((seconds(i) + seconds(i + step - 1)) / 2);
  }
  return out;
}

/// Whether frames and sizes are those of Qwen3VLVideoProcessor.
bool is_clip(const PreprocessorConfig& config, const SamplingOptions& o) {
  return o.reference == Reference::kHf && config.bounds_whole_clips;
}

/// How many were chosen, before the last is repeated to fill a temporal patch.
std::int64_t choose_frames(const FrameIndex& index, const PreprocessorConfig& config,
                           const SamplingOptions& o, const std::string& name, const Limits& limits,
                           MediaPlan& plan) {
  const std::int64_t factor = config.temporal_patch_size;
  plan.range = frame_range(index.size(), index.fps, o);
  const bool clip = is_clip(config, o);
  const std::int64_t n = clip ? clip_frame_count(plan.range.count(), index.fps, o)
                              : frame_count(plan.range.count(), index.fps, factor, o);
  if (n > limits.frames_kept) {
    throw_error(ErrorCode::kLimit, "{}: {} frames to sample, over the limit frames-kept ({})", name,
                n, limits.frames_kept);
  }
  if (o.frames && *o.frames > plan.range.count()) {
    plan.warnings.push_back(fmt::format("{}: {} frames asked for, {} of {} are taken", name,
                                        *o.frames, n, plan.range.count()));
  } else if (plan.range.count() < factor) {
    plan.warnings.push_back(fmt::format("{}: only {} frame{}: repeated to make {}", name,
                                        plan.range.count(), plan.range.count() == 1 ? "" : "s", n));
  }
  if (o.sample == SampleBy::kTime) {
    plan.frame_indices = frame_indices_by_time(plan.range, n, index.pts);
  } else {
    plan.frame_indices =
        clip ? clip_frame_indices(plan.range, n) : frame_indices(plan.range, n, o.reference);
  }
  while (static_cast<std::int64_t>(plan.frame_indices.size()) % factor != 0) {
    plan.frame_indices.push_back(plan.frame_indices.back());
  }
  for (const std::int64_t i : plan.frame_indices) {
    plan.frame_pts.push_back(index.pts[static_cast<std::size_t>(i)]);
  }
  plan.slice_seconds = slice_seconds(plan, index, factor, o.sample);
  plan.sample_fps = static_cast<double>(n) / static_cast<double>(plan.range.count()) * index.fps;
  return n;
}

void plan_video(Media& media, const PreprocessorConfig& config, const SamplingOptions& options,
                const Limits& limits, const CancelToken* cancel, MediaPlan& plan) {
  const SamplingOptions o = with_config(options, config, false);
  const FrameIndex& index = media.frame_index(cancel);
  const std::string& name = media.info().name;
  plan.warnings = index.warnings;
  plan.total_frames = index.size();
  plan.video_fps = index.fps;
  plan.start_seconds = index.pts.front();
  plan.duration_seconds = index.end_seconds - index.pts.front();
  plan.source = upright_size(media.info().video(), o.square_pixels);
  const std::int64_t chosen = choose_frames(index, config, o, name, limits, plan);
  const auto n = static_cast<std::int64_t>(plan.frame_indices.size());
  if (is_clip(config, o)) {
    plan.resized = naming(name, [&] { return clip_size(plan.source, chosen, config, o); });
    finish_grid(plan, config, n);
    return;
  }
  const PixelLimits pixels =
      video_pixel_limits(n, config.factor(), config.temporal_patch_size, o,
                         config.cap_pixels_per_frame ? config.max_video_tokens : 0);
  if (pixels.capped && options.max_pixels) {
    plan.warnings.push_back(fmt::format("{}: max_pixels {} is over {:.0f}, what {} frames may have",
                                        name, *options.max_pixels, pixels.max_pixels, n));
  }
  plan.resized = target_size(plan, config, pixels, name);
  finish_grid(plan, config, n);
}

std::int64_t decoding_bytes(const MediaInfo& info, const Limits& limits) {
  const StreamInfo& stream = info.video();
  const std::int64_t pixels = checked_mul(stream.width, stream.height, "pixels");
  if (info.kind == MediaInfo::Kind::kImage) return checked_mul(pixels, kDecodedImagePixel, "image");
  return checked_add(FrameBudget::most(limits, stream, num_threads()),
                     checked_mul(pixels, 3, "pixels"), "frames");
}

}  // namespace

MediaPlan plan_media(Media& media, const PreprocessorConfig& config, const SamplingOptions& options,
                     const Limits& limits, const CancelToken* cancel) {
  MediaPlan plan;
  plan.reference = options.reference;
  if (media.is_image()) {
    plan_image(media, config, options, plan);
  } else {
    plan_video(media, config, options, limits, cancel, plan);
  }
  plan.decoding_bytes = decoding_bytes(media.info(), limits);
  return plan;
}

}  // namespace reelm::preprocess
