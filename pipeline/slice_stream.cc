#include "pipeline/slice_stream.h"

#include <system_error>
#include <utility>

#include "core/parallel.h"
#include "core/throw.h"
#include "core/timeline.h"

namespace reelm::pipeline {

MediaSlices::MediaSlices(std::span<PlannedMedium> media,
                         const preprocess::PreprocessorConfig& config, const Limits& limits,
                         const CancelToken* cancel)
    : media_(media), config_(config), limits_(limits), cancel_(cancel) {}

std::int64_t MediaSlices::size() const {
  std::int64_t n = 0;
  for (const PlannedMedium& medium : media_) n += medium.plan.n_slices();
  return n;
}

bool MediaSlices::next(Slice& slice) {
  if (medium_ == media_.size()) return false;
  const TimelineSpan span("slice", SpanKind::kStage, {"slice", done_});
  PlannedMedium& medium = media_[medium_];
  if (!reader_) reader_.emplace(medium.media, medium.plan, config_, limits_, cancel_);
  const bool got = reader_->next(slice.patches, slice.pixels);
  REELM_CHECK(got);  // a plan has one slice or more, and they are counted below
  slice.medium = medium_;
  slice.end.reset();
  if (++done_ == medium.plan.n_slices()) {
    slice.end = MediumEnd{reader_->times(), reader_->warnings()};
    reader_.reset();
    done_ = 0;
    ++medium_;
  }
  return true;
}

SliceStream::SliceStream(SliceSource& source, CancelToken& stop, bool overlap)
    : source_(source), stop_(stop), overlap_(overlap && source.size() > 1) {}

SliceStream::~SliceStream() {
  stop_.cancel();
  empty_.close();
  ready_.close();
  if (thread_.joinable()) thread_.join();
}

void SliceStream::start() {
  for (std::size_t i = 1; i < kSlices; ++i) (void)empty_.push(std::make_unique<Slice>());
  try {
    thread_ = std::thread(&SliceStream::read_ahead, this, num_threads());
  } catch (const std::system_error& e) {
    throw_error(ErrorCode::kOutOfMemory, "no thread to read ahead in: {}", e.what());
  }
}

void SliceStream::read_ahead(int threads) noexcept {
  const LoopThreads share(threads);  // the decoder's threads are so many
  const SerialLoops serial;
  const TimelineLane lane(lanes::kReadAhead);
  try {
    while (auto slice = next_empty()) {
      if (!source_.next(**slice)) break;
      if (!ready_.push(std::move(*slice), &stop_)) break;
      note_depths();
    }
    ready_.close();
  } catch (...) {
    ready_.fail(std::current_exception());
  }
}

std::optional<std::unique_ptr<Slice>> SliceStream::next_empty() {
  const TimelineWait wait("empty.wait", lanes::kMain);
  return empty_.pop(&stop_);
}

std::optional<std::unique_ptr<Slice>> SliceStream::next_ready() {
  const TimelineWait wait("ready.wait", lanes::kReadAhead);
  return ready_.pop(&stop_);
}

void SliceStream::note_depths() const {
  if (!Timeline::on()) return;
  Timeline::count("slices", {"ready", static_cast<std::int64_t>(ready_.size())},
                  {"empty", static_cast<std::int64_t>(empty_.size())});
}

const Slice* SliceStream::next() {
  if (!overlap_ || !begun_) {
    if (!source_.next(*current_)) return nullptr;
    begun_ = true;
    if (overlap_) start();
    return current_.get();
  }
  (void)empty_.push(std::move(current_), &stop_);
  auto slice = next_ready();
  note_depths();
  if (!slice) return nullptr;
  current_ = std::move(*slice);
  return current_.get();
}

}  // namespace reelm::pipeline
