// A video or an image in memory: opened, indexed, planned, decoded, converted, resized, cut into
// patches. Holds: times do not fall, limits are kept, a plan gives the slices it promises.
#include <array>
#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "preprocess/patch_reader.h"
#include "preprocess/plan.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {
namespace {

using namespace preprocess;

Limits strict_limits() {
  Limits limits;
  limits.frame_pixels = 1 << 17;
  limits.image_bytes = 1 << 20;
  limits.frames_considered = 2000;
  limits.frames_kept = 8;
  limits.probe_bytes = 1 << 20;
  limits.probe_seconds = 5;
  limits.stall_seconds = 5;
  limits.streams = 8;
  return limits;
}

void check(const FrameIndex& index, const Limits& limits) {
  REELM_CHECK(index.size() >= 1 && index.size() <= limits.frames_considered);
  REELM_CHECK(index.ticks.size() == index.pts.size() && index.keyframe.size() == index.pts.size());
  REELM_CHECK(std::is_sorted(index.pts.begin(), index.pts.end()));
  REELM_CHECK(std::isfinite(index.pts.front()) && std::isfinite(index.pts.back()));
  REELM_CHECK(std::isfinite(index.end_seconds) && std::isfinite(index.fps) && index.fps >= 0);
}

void check(const MediaInfo& info, const Limits& limits) {
  REELM_CHECK(static_cast<std::int64_t>(info.streams.size()) <= limits.streams);
  const StreamInfo& video = info.video();
  REELM_CHECK(video.width > 0 && video.height > 0);
  REELM_CHECK(video.width <= limits.frame_pixels / video.height);
}

/// All frames, as far as they are few.
void read_frames(Media& media, const Limits& limits) {
  std::vector<std::int64_t> indices(
      media.is_image()
          ? 1
          : static_cast<std::size_t>(std::min<std::int64_t>(media.frame_index().size(), 12)));
  std::iota(indices.begin(), indices.end(), 0);
  FrameReader reader(media, indices, limits);
  std::size_t n = 0;
  for (RgbFrame frame; reader.next(frame); ++n) {
    const auto height = frame.pixels.size(0), width = frame.pixels.size(1);
    REELM_CHECK(height > 0 && width > 0 && width <= limits.frame_pixels / height);
    [[maybe_unused]] volatile unsigned sum = 0;
    for (std::int64_t y = 0; y < height; ++y) {
      sum = std::accumulate(frame.pixels.row(y), frame.pixels.row(y) + width * 3, unsigned{sum});
    }
  }
  REELM_CHECK(n == indices.size());
}

void read_patches(Media& media, const Limits& limits) {
  SamplingOptions options;
  if (!media.is_image()) options.frames = 4;
  options.min_pixels = 28 * 28;
  options.max_pixels = 28 * 28 * 12;
  const PreprocessorConfig config;
  const MediaPlan plan = plan_media(media, config, options, limits);
  REELM_CHECK(static_cast<std::int64_t>(plan.frame_indices.size()) <= limits.frames_kept);
  PatchReader reader(media, plan, config, limits);
  std::int64_t slices = 0;
  for (PatchBatch slice; reader.next(slice); ++slices) {
    REELM_CHECK(slice.grid_thw == (GridThw{1, plan.grid_thw[1], plan.grid_thw[2]}));
    for (const float v :
         std::span(slice.pixels.data(), static_cast<std::size_t>(slice.pixels.numel()))) {
      REELM_CHECK(std::abs(v) < 10);
    }
  }
  REELM_CHECK(slices == plan.grid_thw[0]);
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Limits limits = strict_limits();
  set_num_threads(1);
  succeeds([&] {
    Media media(MediaSource::from_memory(std::as_bytes(input), "input"), limits);
    check(media.info(), limits);
    if (!media.is_image()) check(media.frame_index(), limits);
    succeeds([&] { read_frames(media, limits); });
    read_patches(media, limits);
  });
}

}  // namespace reelm::fuzz
