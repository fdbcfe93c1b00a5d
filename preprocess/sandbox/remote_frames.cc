#include <algorithm>

#include "core/parallel.h"
#include "core/timeline.h"
#include "preprocess/frame_source.h"
#include "preprocess/sandbox/remote_decoder.h"

namespace reelm::preprocess {
namespace {

/// Frames of a confined decoder, which works on the next one while this one is used.
class RemoteFrames final : public FrameSource {
 public:
  explicit RemoteFrames(const FrameOrder& order)
      : media_(order.media.impl()), decoder_(*media_.remote), cancel_(order.cancel) {
    std::vector<std::int64_t> indices = order.indices;
    indices.erase(std::unique(indices.begin(), indices.end()), indices.end());
    FrameRequest request{.limits = order.limits, .options = order.options};
    if (request.options.threads <= 0) request.options.threads = num_threads();
    request.options.progress = nullptr;  // memory of this process
    decoder_.begin_frames(indices, request);
  }

  void read(std::int64_t index, RgbFrame& frame) override {
    if (holds_slot_) decoder_.free_slot();
    holds_slot_ = false;
    const FrameHeader header = next_frame(index);
    holds_slot_ = true;
    keep({header.times, header.frames_decoded, header.seeks});
    frame.pixels = decoder_.pixels(header);
    frame.pts = media_.info.kind == MediaInfo::Kind::kImage
                    ? 0
                    : media_.index.pts[static_cast<std::size_t>(index)];
  }
  void finish(std::vector<std::string>& warnings) override {
    keep(decoder_.end_frames(cancel_, warnings));
  }
  const StageTimes& times() const noexcept override { return totals_.times; }
  std::int64_t frames_decoded() const noexcept override { return totals_.frames_decoded; }
  std::int64_t seeks() const noexcept override { return totals_.seeks; }

 private:
  FrameHeader next_frame(std::int64_t index) {
    const TimelineWait wait("decoder.wait", lanes::kDecoderProcess);
    return decoder_.next_frame(index, cancel_);
  }
  void keep(const FrameTotals& totals) {
    totals_ = totals;
    totals_.times.open = totals_.times.scan = 0;  // Media has measured both from here
  }

  Media::Impl& media_;
  RemoteDecoder& decoder_;
  const CancelToken* cancel_;
  FrameTotals totals_{};
  bool holds_slot_ = false;
};

}  // namespace

std::unique_ptr<FrameSource> make_remote_frames(const FrameOrder& order) {
  return std::make_unique<RemoteFrames>(order);
}

}  // namespace reelm::preprocess
