#include "preprocess/frame_reader.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "core/parallel.h"
#include "core/throw.h"
#include "preprocess/convert.h"
#include "preprocess/frame_runs.h"
#include "preprocess/image.h"
#include "preprocess/media_impl.h"
#include "preprocess/video_decoder.h"

namespace reelm::preprocess {
namespace {

using Clock = std::chrono::steady_clock;

// Decoding again from the start, when a seek did not bring its frame: not for every hole of a
// damaged file.
constexpr int kMaxRetries = 2;

/// Adds the time of a scope to a stage.
class Timer {
 public:
  explicit Timer(double& to) : to_(to), start_(Clock::now()) {}
  ~Timer() { to_ += std::chrono::duration<double, std::milli>(Clock::now() - start_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  double& to_;
  Clock::time_point start_;
};

}  // namespace

struct FrameReader::Impl {
  Impl(Media& from, std::vector<std::int64_t> wanted, const Limits& most, const CancelToken* token,
       const Options& how)
      : media(&from), indices(std::move(wanted)), limits(most), cancel(token), options(how) {}

  Media* media;
  std::vector<std::int64_t> indices;
  Limits limits;
  const CancelToken* cancel;
  Options options;
  std::size_t next = 0;  // into indices
  StageTimes times;
  std::vector<std::string> warnings;
  RgbFrame current;
  bool have_current = false;

  RgbImage image;                         // images
  std::unique_ptr<VideoDecoder> decoder;  // videos, from here on
  std::unique_ptr<RgbConverter> converter;
  std::vector<FrameRun> runs;
  std::size_t run = 0;          // the one being decoded
  std::size_t run_of_feed = 0;  // number of runs begun
  FramePtr previous;            // the last frame that came before the one wanted
  FramePtr pending;             // came too early: belongs to a later index
  int retries = 0;
  std::int64_t missing = 0, damaged = 0;
  std::int64_t first_missing = -1, first_damaged = -1;

  void prepare();
  bool pull(std::int64_t rank, bool any = false);
  void deliver(const AVFrame& frame, std::int64_t index);
  void decode_image(std::int64_t index);
  void decode_video(std::int64_t index);
  void summarise();
};

FrameReader::FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits,
                         const CancelToken* cancel)
    : FrameReader(media, std::move(indices), limits, cancel, Options()) {}

FrameReader::FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits,
                         const CancelToken* cancel, const Options& options)
    : impl_(std::make_unique<Impl>(media, std::move(indices), limits, cancel, options)) {
  impl_->prepare();
}

FrameReader::FrameReader(FrameReader&&) noexcept = default;
FrameReader& FrameReader::operator=(FrameReader&&) noexcept = default;
FrameReader::~FrameReader() = default;

const std::vector<std::string>& FrameReader::warnings() const noexcept { return impl_->warnings; }
const StageTimes& FrameReader::times() const noexcept { return impl_->times; }
std::int64_t FrameReader::frames_decoded() const noexcept {
  return impl_->decoder ? impl_->decoder->frames_decoded() : 0;
}
std::int64_t FrameReader::seeks() const noexcept {
  return impl_->decoder ? impl_->decoder->seeks() : 0;
}

void FrameReader::Impl::prepare() {
  const std::int64_t total = media->is_image() ? 1 : media->frame_index(cancel).size();
  times.open = media->open_ms();
  times.scan = media->scan_ms();
  for (std::size_t i = 0; i < indices.size(); ++i) {
    if (indices[i] < 0 || indices[i] >= total || (i > 0 && indices[i] < indices[i - 1])) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: frame {} asked for, expected rising numbers below {}", media->info().name,
                  indices[i], total);
    }
  }
  if (media->is_image() || indices.empty()) return;
  const Timer timer(times.open);
  Media::Impl& m = media->impl();
  const int threads = options.threads > 0 ? options.threads : num_threads();
  decoder = std::make_unique<VideoDecoder>(m, limits, cancel, threads);
  converter = std::make_unique<RgbConverter>(m.demuxer->orientation(), m.source.name());
  runs = plan_runs(m.table, indices, options.allow_seek && m.table.seekable);
  previous = make_frame();
  pending = make_frame();
}

bool FrameReader::next(RgbFrame& frame) {
  Impl& m = *impl_;
  if (m.cancel != nullptr) m.cancel->check();
  if (m.next == m.indices.size()) {
    m.summarise();
    return false;
  }
  const std::int64_t index = m.indices[m.next];
  if (!m.have_current || m.current.index != index) {
    m.media->is_image() ? m.decode_image(index) : m.decode_video(index);
    m.current.index = index;
    m.have_current = true;
  }
  ++m.next;
  if (m.next == m.indices.size()) m.summarise();
  frame = m.current;
  return true;
}

void FrameReader::Impl::decode_image(std::int64_t) {
  const Timer timer(times.decode);
  const Media::Impl& m = media->impl();
  image = reelm::preprocess::decode_image(m.image, m.source.name(), limits, options.reference);
  current.pixels = {image.pixels.data(), {image.size.height, image.size.width, 3}};
  current.pts = 0;
}

void FrameReader::Impl::deliver(const AVFrame& frame, std::int64_t index) {
  const Timer timer(times.convert);
  current.pixels = converter->convert(frame);
  current.pts = media->impl().index.pts[static_cast<std::size_t>(index)];
  if (frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0) {
    if (damaged++ == 0) first_damaged = index;
  }
}

/// Decodes until frame `rank` is in `pending` (true), or a later one is, or its run has no more
/// (false). Frames that come before it end up in `previous`. With `any` the first frame of this run
/// or a later one will do.
bool FrameReader::Impl::pull(std::int64_t rank, bool any) {
  while (run < runs.size()) {
    if (run_of_feed == run) {
      const Timer timer(times.seek);
      decoder->begin(runs[run]);
      ++run_of_feed;
    }
    bool got = false;
    {
      const Timer timer(times.decode);
      got = decoder->receive(*pending, indices);
    }
    if (!got) {  // the run is over
      if (!any && rank <= runs[run].last) return false;
      ++run;
      continue;
    }
    if (any || pending->pts == rank) return true;
    if (pending->pts > rank) return false;
    std::swap(previous, pending);
    av_frame_unref(pending.get());
  }
  return false;
}

void FrameReader::Impl::decode_video(std::int64_t index) {
  const bool waiting = pending->buf[0] != nullptr;
  if (waiting && pending->pts < index) {
    std::swap(previous, pending);
    av_frame_unref(pending.get());
  }
  const bool held = pending->buf[0] != nullptr;
  const bool found = held ? pending->pts == index : pull(index);
  if (found) return deliver(*pending, index);

  // A run that began at a seek may lack its first frames where a key flag lied: from the start
  // then.
  if (run < runs.size() && runs[run].start > 0 && retries < kMaxRetries && !held) {
    ++retries;
    runs[run].start = 0;
    run_of_feed = run;
    av_frame_unref(pending.get());
    return decode_video(index);
  }
  if (missing++ == 0) first_missing = index;
  if (previous->buf[0] != nullptr) return deliver(*previous, index);
  if (have_current) {  // the frame delivered before this one, still converted
    current.pts = media->impl().index.pts[static_cast<std::size_t>(index)];
    return;
  }
  if (pending->buf[0] == nullptr && !pull(index, true)) {
    throw_error(ErrorCode::kFormat, "{}: stream {}: not one of {} frames of '{}' could be decoded",
                media->info().name, media->info().video_stream, media->impl().index.size(),
                media->info().video().codec);
  }
  deliver(*pending, index);
}

void FrameReader::Impl::summarise() {
  const std::string& name = media->info().name;
  const auto n = static_cast<std::int64_t>(indices.size());
  if (missing > 0) {
    warnings.push_back(
        fmt::format("{}: {} of {} frames could not be decoded, the first is frame {}; the nearest "
                    "decoded frame "
                    "stands in",
                    name, missing, n, first_missing));
  }
  if (damaged > 0) {
    warnings.push_back(fmt::format("{}: {} of {} frames are damaged, the first is frame {}", name,
                                   damaged, n, first_damaged));
  }
  missing = damaged = 0;
}

}  // namespace reelm::preprocess
