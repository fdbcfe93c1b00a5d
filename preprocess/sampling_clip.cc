#include "preprocess/sampling_clip.h"

#include <algorithm>
#include <cmath>

#include "core/throw.h"

namespace reelm::preprocess {

namespace {

// Qwen3VLVideoProcessor's class attributes.
constexpr double kFps = 2.0;
constexpr std::int64_t kMinFrames = 4;
constexpr std::int64_t kMaxFrames = 768;
constexpr std::int64_t kMinPixels = 128 * 32 * 32;
constexpr std::int64_t kMaxPixels = 768 * 32 * 32;
constexpr double kMaxRatio = 200.0;

std::int64_t multiple(double units, std::int64_t factor) {
  return static_cast<std::int64_t>(units) * factor;
}

struct Bounds {
  double min;
  double max;
};

/// Of the pixels of all frames.
Bounds bounds_of(std::int64_t n_frames, const PreprocessorConfig& config,
                 const SamplingOptions& o) {
  const auto n = static_cast<double>(n_frames);
  const auto whole = [&](const std::optional<std::int64_t>& of_frame,
                         const std::optional<std::int64_t>& of_clip, std::int64_t otherwise) {
    return of_frame ? static_cast<double>(*of_frame) * n
                    : static_cast<double>(of_clip.value_or(otherwise));
  };
  Bounds out = {whole(o.min_pixels, config.video_min_pixels, kMinPixels),
                whole(o.max_pixels, config.video_max_pixels, kMaxPixels)};
  if (config.cap_pixels_per_frame) {
    const auto factor = static_cast<double>(config.factor());
    const double most = static_cast<double>(config.max_video_tokens) * factor * factor;
    out.max = n * std::max(std::min(most, std::floor(out.max / n)), std::floor(out.min * 1.05));
  }
  return out;
}

}  // namespace

std::int64_t clip_frame_count(std::int64_t total, double video_fps, const SamplingOptions& o) {
  // Checks what was asked for.
  const std::int64_t even = frame_count(total, video_fps, 1, o);
  if (o.frames) return *o.frames > total ? even : *o.frames;
  const double wanted = static_cast<double>(total) / video_fps * o.fps.value_or(kFps);
  const double bounded =
      std::min(std::max(std::floor(wanted), static_cast<double>(o.min_frames.value_or(kMinFrames))),
               static_cast<double>(o.max_frames.value_or(kMaxFrames)));
  return std::min(static_cast<std::int64_t>(bounded), total);
}

std::vector<std::int64_t> clip_frame_indices(FrameRange range, std::int64_t n) {
  std::vector<std::int64_t> out;
  const auto span = static_cast<double>(range.count() - 1);
  const double step = n > 1 ? span / static_cast<double>(n - 1) : 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double place = n > 1 && i == n - 1 ? span : static_cast<double>(i) * step;
    out.push_back(range.first + static_cast<std::int64_t>(std::nearbyint(place)));
  }
  return out;
}

Size clip_size(Size source, std::int64_t n_frames, const PreprocessorConfig& config,
               const SamplingOptions& options) {
  const std::int64_t side = config.factor();
  const auto factor = static_cast<double>(side);
  auto h = static_cast<double>(source.height), w = static_cast<double>(source.width);
  if (!(h >= 1.0 && w >= 1.0)) {
    throw_error(ErrorCode::kInvalidArgument, "a frame of {}x{} pixels cannot be resized",
                source.width, source.height);
  }
  if (h < factor || w < factor) {
    const double scale = std::max(factor / h, factor / w);
    h = std::floor(h * scale);
    w = std::floor(w * scale);
  }
  const double ratio = std::max(h, w) / std::min(h, w);
  if (ratio > kMaxRatio) {
    throw_error(ErrorCode::kInvalidArgument,
                "a frame of {}x{} pixels: the aspect ratio {:.1f} is over {}, the most the model "
                "takes",
                source.width, source.height, ratio, kMaxRatio);
  }
  const auto temporal = static_cast<double>(config.temporal_patch_size);
  const auto n = static_cast<double>(n_frames);
  const Bounds bounds = bounds_of(n_frames, config, options);
  Size out = {multiple(std::nearbyint(h / factor), side),
              multiple(std::nearbyint(w / factor), side)};
  const double volume = std::nearbyint(n / temporal) * temporal * static_cast<double>(out.height) *
                        static_cast<double>(out.width);
  if (volume > bounds.max) {
    const double beta = std::sqrt(n * h * w / bounds.max);
    out = {std::max(side, multiple(std::floor(h / beta / factor), side)),
           std::max(side, multiple(std::floor(w / beta / factor), side))};
  } else if (volume < bounds.min) {
    const double beta = std::sqrt(bounds.min / (n * h * w));
    out = {multiple(std::ceil(h * beta / factor), side),
           multiple(std::ceil(w * beta / factor), side)};
  }
  return out;
}

}  // namespace reelm::preprocess
