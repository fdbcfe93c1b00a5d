#include <algorithm>
#include <chrono>

#include "preprocess/animation.h"
#include "preprocess/frame_source.h"

namespace reelm::preprocess {
namespace {

class AnimationFrames final : public FrameSource {
 public:
  explicit AnimationFrames(const FrameOrder& order)
      : media_(order.media.impl()),
        indices_(order.indices),
        animation_(media_.image, media_.source.name(), order.options.reference),
        cancel_(order.cancel),
        progress_(order.options.progress) {}

  void read(std::int64_t index, RgbFrame& frame) override {
    const auto start = std::chrono::steady_clock::now();
    // As far as the frame, or the last one that can be drawn.
    while (animation_.frames_decoded() <= std::min(index, animation_.good_frames() - 1)) {
      if (cancel_ != nullptr) cancel_->check();
      animation_.decode_next();
      if (progress_ != nullptr) ++*progress_;
    }
    if (index >= animation_.good_frames() && missing_++ == 0) first_missing_ = index;
    frame.pixels = animation_.pixels();
    frame.pts = media_.index.pts[static_cast<std::size_t>(index)];
    times_.decode +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  void finish(std::vector<std::string>& warnings) override {
    if (missing_ == 0) return;
    warnings.push_back(undecoded_frames(media_.source.name(), missing_,
                                        static_cast<std::int64_t>(indices_.size()),
                                        first_missing_));
  }
  const StageTimes& times() const noexcept override { return times_; }
  std::int64_t frames_decoded() const noexcept override { return animation_.frames_decoded(); }

 private:
  const Media::Impl& media_;
  const std::vector<std::int64_t>& indices_;
  WebpAnimation animation_;
  const CancelToken* cancel_;
  std::atomic<std::int64_t>* progress_;
  StageTimes times_;
  std::int64_t missing_ = 0, first_missing_ = -1;
};

}  // namespace

std::unique_ptr<FrameSource> make_animation_frames(const FrameOrder& order) {
  return std::make_unique<AnimationFrames>(order);
}

}  // namespace reelm::preprocess
