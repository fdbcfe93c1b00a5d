#include <algorithm>
#include <chrono>
#include <utility>

#include "core/parallel.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/convert.h"
#include "preprocess/frame_runs.h"
#include "preprocess/frame_source.h"
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
  Timer(const char* stage, double& to)
      : span_(stage, SpanKind::kStage), to_(to), start_(Clock::now()) {}
  ~Timer() { to_ += std::chrono::duration<double, std::milli>(Clock::now() - start_).count(); }
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 private:
  TimelineSpan span_;
  double& to_;
  Clock::time_point start_;
};

class VideoFrames final : public FrameSource {
 public:
  explicit VideoFrames(const FrameOrder& order);
  void read(std::int64_t index, RgbFrame& frame) override;
  void finish(std::vector<std::string>& warnings) override;
  const StageTimes& times() const noexcept override { return times_; }
  std::int64_t frames_decoded() const noexcept override { return decoder_->frames_decoded(); }
  std::int64_t seeks() const noexcept override { return decoder_->seeks(); }

 private:
  void decode(std::int64_t index);
  bool pull(std::int64_t rank, bool any = false);
  void deliver(const AVFrame& frame, std::int64_t index);
  void note_size(std::int64_t index);

  Media::Impl& media_;
  const std::vector<std::int64_t>& indices_;
  StageTimes times_;
  RgbFrame current_;
  bool have_current_ = false;
  std::unique_ptr<VideoDecoder> decoder_;
  RgbConverter converter_;
  std::vector<FrameRun> runs_;
  std::size_t run_ = 0;             // the one being decoded
  std::size_t run_of_feed_ = 0;     // number of runs begun
  std::int64_t first_of_run_ = -1;  // number of the first frame it gave
  FramePtr previous_;               // the last frame that came before the one wanted
  FramePtr pending_;                // came too early: belongs to a later index
  int retries_ = 0;
  std::int64_t missing_ = 0, damaged_ = 0;
  std::int64_t first_missing_ = -1, first_damaged_ = -1;
  Size first_size_;                  // of the frames delivered
  Size other_size_;                  // of the first that differs
  std::int64_t first_resized_ = -1;  // its number
};

VideoFrames::VideoFrames(const FrameOrder& order)
    : media_(order.media.impl()),
      indices_(order.indices),
      converter_(media_.demuxer->orientation(), media_.source.name()),
      previous_(make_frame()),
      pending_(make_frame()) {
  const Timer timer("decoder.open", times_.open);
  const int threads = order.options.threads > 0 ? order.options.threads : num_threads();
  decoder_ = std::make_unique<VideoDecoder>(media_, order.limits, order.cancel, threads,
                                            order.options.progress);
  runs_ = plan_runs(media_.table, indices_, order.options.allow_seek && media_.table.seekable);
}

void VideoFrames::deliver(const AVFrame& frame, std::int64_t index) {
  const Timer timer("convert", times_.convert);
  current_.pixels = converter_.convert(frame);
  note_size(index);
  current_.pts = media_.index.pts[static_cast<std::size_t>(index)];
  if (frame.decode_error_flags != 0 || (frame.flags & AV_FRAME_FLAG_CORRUPT) != 0) {
    if (damaged_++ == 0) first_damaged_ = index;
  }
}

void VideoFrames::note_size(std::int64_t index) {
  const Size size{current_.pixels.size(0), current_.pixels.size(1)};
  if (first_size_ == Size{}) first_size_ = size;
  if (size == first_size_ || first_resized_ >= 0) return;
  first_resized_ = index;
  other_size_ = size;
}

void VideoFrames::read(std::int64_t index, RgbFrame& frame) {
  decode(index);
  have_current_ = true;
  frame = current_;
}

/// Decodes until frame `rank` is in `pending_` (true), or a later one is, or its run has no more
/// (false). Frames that come before it end up in `previous_`. With `any` the first frame of this
/// run or a later one will do.
bool VideoFrames::pull(std::int64_t rank, bool any) {
  while (run_ < runs_.size()) {
    if (!any && rank > runs_[run_].last) {  // all of it that was wanted has come
      run_of_feed_ = ++run_;
      continue;
    }
    if (run_of_feed_ == run_) {
      const Timer timer("seek", times_.seek);
      decoder_->begin(runs_[run_]);
      first_of_run_ = -1;
      ++run_of_feed_;
    }
    bool got = false;
    {
      const Timer timer("decode", times_.decode);
      got = decoder_->receive(*pending_, indices_);
    }
    if (!got) {  // the run is over
      if (!any && rank <= runs_[run_].last) return false;
      ++run_;
      continue;
    }
    if (first_of_run_ < 0) first_of_run_ = pending_->pts;
    if (any || pending_->pts == rank) return true;
    if (pending_->pts > rank) return false;
    std::swap(previous_, pending_);
    av_frame_unref(pending_.get());
  }
  return false;
}

void VideoFrames::decode(std::int64_t index) {
  const bool waiting = pending_->buf[0] != nullptr;
  // Packets behind the end of a run may have given a frame far ahead; this one has a run of its
  // own.
  if (waiting && pending_->pts > index && index > runs_[run_].last) av_frame_unref(pending_.get());
  if (pending_->buf[0] != nullptr && pending_->pts < index) {
    std::swap(previous_, pending_);
    av_frame_unref(pending_.get());
  }
  const bool held = pending_->buf[0] != nullptr;
  const bool found = held ? pending_->pts == index : pull(index);
  if (found) return deliver(*pending_, index);

  // A run that began at a seek may lack its first frames where a key flag lied: from the start
  // then.
  if (run_ < runs_.size() && runs_[run_].start > runs_[run_].earliest && retries_ < kMaxRetries &&
      !held) {
    ++retries_;
    runs_[run_].start = runs_[run_].earliest;
    run_of_feed_ = run_;
    av_frame_unref(pending_.get());
    return decode(index);
  }
  if (missing_++ == 0) first_missing_ = index;
  // What leads the first key frame of a recording refers to what is not there: that key frame
  // stands in, whichever frames were wanted before.
  const bool leads = run_ < runs_.size() && runs_[run_].start == runs_[run_].earliest &&
                     pending_->buf[0] != nullptr && pending_->pts == first_of_run_;
  if (leads) return deliver(*pending_, index);
  if (previous_->buf[0] != nullptr) return deliver(*previous_, index);
  if (have_current_) {  // the frame delivered before this one, still converted
    current_.pts = media_.index.pts[static_cast<std::size_t>(index)];
    return;
  }
  if (pending_->buf[0] == nullptr && !pull(index, true)) {
    throw_error(ErrorCode::kFormat, "{}: stream {}: not one of {} frames of '{}' could be decoded",
                media_.info.name, media_.info.video_stream, media_.index.size(),
                media_.info.video().codec);
  }
  deliver(*pending_, index);
}

void VideoFrames::finish(std::vector<std::string>& warnings) {
  const std::string& name = media_.info.name;
  const auto n = static_cast<std::int64_t>(indices_.size());
  if (missing_ > 0) {
    warnings.push_back(undecoded_frames(name, missing_, n, first_missing_));
  }
  if (damaged_ > 0) {
    warnings.push_back(fmt::format("{}: {} of {} frames are damaged, the first is frame {}", name,
                                   damaged_, n, first_damaged_));
  }
  if (first_resized_ >= 0) {
    warnings.push_back(
        fmt::format("{}: the size changes within the video, from {}x{} to {}x{} at frame {}; the "
                    "model is shown one size",
                    name, first_size_.width, first_size_.height, other_size_.width,
                    other_size_.height, first_resized_));
  }
}

}  // namespace

std::string undecoded_frames(const std::string& name, std::int64_t missing, std::int64_t n,
                             std::int64_t first) {
  return fmt::format(
      "{}: {} of {} frames could not be decoded, the first is frame {}; the nearest decoded frame "
      "stands in",
      name, missing, n, first);
}

std::unique_ptr<FrameSource> make_video_frames(const FrameOrder& order) {
  return std::make_unique<VideoFrames>(order);
}

}  // namespace reelm::preprocess
