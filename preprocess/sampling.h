// Which frames, and at which size: the arithmetic of the two references, as pure functions.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace reelm::preprocess {

/// Whose arithmetic is followed.
enum class Reference {
  kQwenVlUtils,  ///< qwen-vl-utils 0.0.14, `vision_process.py` (what the model's README tells to
                 ///< run)
  kHf,  ///< transformers 5.23, `{video,image}_processing_qwen2_vl.py`, do_sample_frames=True
};

/// How the chosen frames are spread.
enum class SampleBy {
  kIndex,  ///< over frame numbers, as both references do
  kTime,   ///< over true presentation times: even in time where the frame rate varies
};

/// What a caller may ask for. An empty optional: the model's config decides, else the reference.
struct SamplingOptions {
  std::optional<double> fps;               ///< frames to take per second; excludes `frames`
  std::optional<std::int64_t> frames;      ///< frames to take (`nframes`, `num_frames`)
  std::optional<std::int64_t> min_frames;  ///< only together with a frame rate
  std::optional<std::int64_t> max_frames;
  std::optional<std::int64_t> min_pixels;    ///< of a resized frame or image
  std::optional<std::int64_t> max_pixels;    ///< of a resized frame or image
  std::optional<std::int64_t> total_pixels;  ///< of all sampled frames (kQwenVlUtils only)
  std::optional<double> from;                ///< seconds from the start; the part to look at
  std::optional<double> to;                  ///< seconds from the start
  Reference reference = Reference::kQwenVlUtils;
  SampleBy sample = SampleBy::kIndex;
  /// Show a video whose pixels are not square (sample aspect ratio) in the shape it is played in.
  /// The references look at it as coded; stills are left alone.
  bool square_pixels = false;
};

/// Height and width in pixels.
struct Size {
  std::int64_t height = 0;
  std::int64_t width = 0;
  friend bool operator==(const Size&, const Size&) = default;
};

/// First and last frame number of a part of a video, both included.
struct FrameRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
  std::int64_t count() const noexcept { return last - first + 1; }
  friend bool operator==(const FrameRange&, const FrameRange&) = default;
};

/// `smart_resize` of the reference: both sides multiples of `factor`, the area within
/// [min_pixels, max_pixels], the aspect ratio kept as well as that allows. `max_pixels` is a real
/// number because qwen-vl-utils divides its budget. Banker's rounding as Python's `round`.
/// Throws Error{kInvalidArgument}: a side < 1, aspect ratio over 200, max_pixels < min_pixels, or a
/// result with a side of 0 (reference kHf can; it then fails later).
Size smart_resize(Size source, std::int64_t factor, std::int64_t min_pixels, double max_pixels,
                  Reference reference);

/// `smart_nframes` (kQwenVlUtils) or the count of `Qwen2VLVideoProcessor.sample_frames` (kHf) for
/// `total` frames at `video_fps`; `factor` is temporal_patch_size. Empty options take the
/// reference's constants (fps 2, 4 to 768 frames).
/// Where the reference raises for want of frames (fewer than 2, or more asked for than there are)
/// this returns what can be had: `total` rounded down to the factor, and `factor` for a video that
/// is shorter than that (its last frame is repeated).
/// Throws Error{kInvalidArgument}: both fps and frames given, a value that is not positive, a
/// maximum below `factor`, video_fps not positive where it is needed.
std::int64_t frame_count(std::int64_t total, double video_fps, std::int64_t factor,
                         const SamplingOptions& options);

/// `calculate_video_frame_range`: options.from rounded up and options.to rounded down to frame
/// numbers, clamped to the video. One frame is allowed (the reference raises).
/// Throws Error{kInvalidArgument} when the part holds no frame.
FrameRange frame_range(std::int64_t total, double video_fps, const SamplingOptions& options);

/// `n` frame numbers spread over `range`. kQwenVlUtils: torch.linspace(first, last, n).round() in
/// float32, as torch computes it (from both ends, half to even). kHf:
/// torch.arange(0, count, count / n).int() from `first`, padded with the last when float32 falls
/// short. When n exceeds the frames the last is repeated.
std::vector<std::int64_t> frame_indices(FrameRange range, std::int64_t n, Reference reference);

/// `n` frame numbers of `range` whose times are nearest to n times spread evenly from the first to
/// the last; `pts` are the seconds of all frames, not decreasing.
std::vector<std::int64_t> frame_indices_by_time(FrameRange range, std::int64_t n,
                                                std::span<const double> pts);

/// Lower and upper bound for the area of one frame.
struct PixelLimits {
  std::int64_t min_pixels = 0;
  double max_pixels = 0;
  bool capped = false;  ///< the maximum that was asked for exceeds the reference's cap
};

/// Bounds of one of `n_frames` video frames. kQwenVlUtils: 128 to 768 tokens of factor x factor
/// pixels, the maximum further capped by the even share of total_pixels and by 1.05 * min.
/// kHf: min and max as given, else the same 128 and 768 tokens; `cap_tokens` > 0 applies
/// cap_pixels_per_frame.
PixelLimits video_pixel_limits(std::int64_t n_frames, std::int64_t factor,
                               std::int64_t temporal_factor, const SamplingOptions& options,
                               std::int64_t cap_tokens = 0);

/// Bounds of an image: 4 to 16384 tokens (kQwenVlUtils), 56*56 to 28*28*1280 pixels (kHf), unless
/// options say.
PixelLimits image_pixel_limits(std::int64_t factor, const SamplingOptions& options);

}  // namespace reelm::preprocess
