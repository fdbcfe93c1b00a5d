#include <chrono>

#include "preprocess/animation.h"
#include "preprocess/frame_source.h"

namespace reelm::preprocess {
namespace {

class AnimationFrames final : public FrameSource {
 public:
  explicit AnimationFrames(const FrameOrder& order)
      : media_(order.media.impl()),
        animation_(media_.image, media_.source.name(), order.options.reference),
        cancel_(order.cancel),
        progress_(order.options.progress) {}

  void read(std::int64_t index, RgbFrame& frame) override {
    const auto start = std::chrono::steady_clock::now();
    while (animation_.frames_decoded() <= index) {
      if (cancel_ != nullptr) cancel_->check();
      animation_.decode_next();
      if (progress_ != nullptr) ++*progress_;
    }
    frame.pixels = animation_.pixels();
    frame.pts = media_.index.pts[static_cast<std::size_t>(index)];
    times_.decode +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
  }
  const StageTimes& times() const noexcept override { return times_; }
  std::int64_t frames_decoded() const noexcept override { return animation_.frames_decoded(); }

 private:
  const Media::Impl& media_;
  WebpAnimation animation_;
  const CancelToken* cancel_;
  std::atomic<std::int64_t>* progress_;
  StageTimes times_;
};

}  // namespace

std::unique_ptr<FrameSource> make_animation_frames(const FrameOrder& order) {
  return std::make_unique<AnimationFrames>(order);
}

}  // namespace reelm::preprocess
