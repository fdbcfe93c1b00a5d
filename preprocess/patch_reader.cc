#include "preprocess/patch_reader.h"

#include <chrono>
#include <cstring>
#include <optional>
#include <utility>

#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/patchify.h"
#include "preprocess/resize.h"

namespace reelm::preprocess {
namespace {

using Clock = std::chrono::steady_clock;

double milliseconds_since(Clock::time_point start) {
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

ResizeMode resize_mode(const MediaPlan& plan) {
  if (plan.reference == Reference::kHf) return ResizeMode::kTorchUint8;
  return plan.is_image ? ResizeMode::kPil : ResizeMode::kTorchFloat;
}

/// The size the patches will have, checked before it is allocated.
std::size_t patch_values(const MediaPlan& plan, const PreprocessorConfig& config) {
  const char* what = "patches";
  const std::int64_t rows = checked_mul(plan.grid_thw[1], plan.grid_thw[2], what);
  const std::int64_t area = config.patch_size * config.patch_size;
  return static_cast<std::size_t>(checked_mul(rows, 3 * config.temporal_patch_size * area, what));
}

}  // namespace

struct PatchReader::Impl {
  Impl(Media& media, MediaPlan p, const PreprocessorConfig& c, const Limits& limits,
       const CancelToken* token)
      : plan(std::move(p)),
        config(c),
        table(make_normalize_table(c)),
        cancel(token),
        reader(media, unique_indices(plan), limits, token, {.reference = plan.reference}) {
    check(media);
    frame_bytes = static_cast<std::size_t>(
        checked_mul(checked_mul(plan.resized.height, plan.resized.width, "frame"), 3, "frame"));
    pixels = AlignedBuffer<std::uint8_t>(frame_bytes *
                                         static_cast<std::size_t>(config.temporal_patch_size));
    n_values = patch_values(plan, config);
  }

  static std::vector<std::int64_t> unique_indices(const MediaPlan& plan) {
    if (plan.is_image) return {0};
    return plan.frame_indices;
  }

  void check(const Media& media) const {
    const auto n = static_cast<std::int64_t>(plan.frame_indices.size());
    const bool fits = plan.is_image == media.is_image() &&
                      plan.frame_pts.size() == plan.frame_indices.size() &&
                      n == plan.grid_thw[0] * config.temporal_patch_size &&
                      plan.resized.height == plan.grid_thw[1] * config.patch_size &&
                      plan.resized.width == plan.grid_thw[2] * config.patch_size && n > 0 &&
                      plan.resized.height > 0 && plan.resized.height % config.factor() == 0 &&
                      plan.resized.width > 0 && plan.resized.width % config.factor() == 0;
    if (!fits) {
      throw_error(ErrorCode::kInvalidArgument, "{}: the plan was made for another media or config",
                  media.info().name);
    }
  }

  std::uint8_t* frame(std::int64_t t) {
    return pixels.data() + static_cast<std::size_t>(t) * frame_bytes;
  }

  /// Frame t of the slice: read, resized; or copied when it is the one before it again.
  void fill_frame(std::int64_t t) {
    const std::int64_t i = (slice + 1) * config.temporal_patch_size + t;
    const bool again = plan.is_image
                           ? t > 0
                           : t > 0 && plan.frame_indices[static_cast<std::size_t>(i)] ==
                                          plan.frame_indices[static_cast<std::size_t>(i - 1)];
    RgbFrame rgb;
    if (!(plan.is_image && t > 0) && !reader.next(rgb)) {
      throw_error(ErrorCode::kInvalidArgument, "the plan has more frames than were read");
    }
    if (cancel != nullptr) cancel->check();
    TimelineSpan span("resize", SpanKind::kStage, {"frame", i});
    const Clock::time_point start = Clock::now();
    if (again) {
      std::memcpy(frame(t), frame(t - 1), frame_bytes);
    } else {
      const Size size{rgb.pixels.size(0), rgb.pixels.size(1)};
      if (!resizer || resizer->source() != size) {  // sizes may change within a stream
        resizer.emplace(size, plan.resized, resize_mode(plan));
      }
      resizer->run(rgb.pixels, {frame(t), {plan.resized.height, plan.resized.width, 3}});
    }
    resize_ms += milliseconds_since(start);
    if (span.recorded() && !again) {
      const Size& to = plan.resized;
      const std::int64_t from_h = rgb.pixels.size(0), from_w = rgb.pixels.size(1);
      span.tell({.shape = {{{"from_height", from_h},
                            {"from_width", from_w},
                            {"height", to.height},
                            {"width", to.width}}},
                 .dtype = "u8",
                 .bytes = 3 * (from_h * from_w + to.height * to.width)});
    }
  }

  MediaPlan plan;
  PreprocessorConfig config;
  NormalizeTable table;
  const CancelToken* cancel;
  FrameReader reader;
  std::optional<Resizer> resizer;
  std::size_t frame_bytes = 0;
  AlignedBuffer<std::uint8_t> pixels;  // [temporal_patch_size, h, w, 3]
  std::size_t n_values = 0;            // of a slice's patches
  AlignedBuffer<float> patches;        // [grid_h*grid_w, 3*temporal*patch*patch], for next(slice)
  std::int64_t slice = -1;
  double resize_ms = 0;
  double patchify_ms = 0;
};

PatchReader::PatchReader(Media& media, MediaPlan plan, const PreprocessorConfig& config,
                         const Limits& limits, const CancelToken* cancel)
    : impl_(std::make_unique<Impl>(media, std::move(plan), config, limits, cancel)) {}

PatchReader::PatchReader(PatchReader&&) noexcept = default;
PatchReader& PatchReader::operator=(PatchReader&&) noexcept = default;
PatchReader::~PatchReader() = default;

bool PatchReader::next(PatchBatch& slice) { return next(slice, impl_->patches); }

bool PatchReader::next(PatchBatch& slice, AlignedBuffer<float>& pixels) {
  Impl& m = *impl_;
  if (m.slice + 1 >= m.plan.n_slices()) return false;
  for (std::int64_t t = 0; t < m.config.temporal_patch_size; ++t) m.fill_frame(t);
  TimelineSpan span("patchify", SpanKind::kStage, {"slice", m.slice + 1});
  const Clock::time_point start = Clock::now();
  pixels.reserve(m.n_values);
  const std::int64_t rows = m.plan.grid_thw[1] * m.plan.grid_thw[2];
  const TensorView<float> patches(pixels.data(),
                                  {rows, static_cast<std::int64_t>(m.n_values) / rows});
  ++m.slice;
  patchify(frames(), m.table, m.config, patches);
  m.patchify_ms += milliseconds_since(start);
  if (span.recorded()) {
    span.tell({.shape = {{{"patches", rows}, {"patch_dim", patches.size(1)}}},
               .dtype = "f32",
               .bytes = static_cast<std::int64_t>(m.n_values) * 5});
  }
  slice.pixels = patches;
  slice.grid_thw = {1, m.plan.grid_thw[1], m.plan.grid_thw[2]};
  return true;
}

TensorView<const std::uint8_t> PatchReader::frames() const noexcept {
  return {impl_->pixels.data(),
          {impl_->config.temporal_patch_size, impl_->plan.resized.height, impl_->plan.resized.width,
           3}};
}

std::vector<double> PatchReader::frame_pts() const {
  const Impl& m = *impl_;
  if (m.slice < 0) return {};
  const auto begin = m.plan.frame_pts.begin() + m.slice * m.config.temporal_patch_size;
  return {begin, begin + m.config.temporal_patch_size};
}

std::int64_t PatchReader::slice_index() const noexcept { return impl_->slice; }
const MediaPlan& PatchReader::plan() const noexcept { return impl_->plan; }

std::vector<std::string> PatchReader::warnings() const {
  std::vector<std::string> all = impl_->plan.warnings;
  const std::vector<std::string>& more = impl_->reader.warnings();
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

StageTimes PatchReader::times() const noexcept {
  StageTimes times = impl_->reader.times();
  times.resize = impl_->resize_ms;
  times.patchify = impl_->patchify_ms;
  return times;
}

}  // namespace reelm::preprocess
