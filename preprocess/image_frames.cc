#include <chrono>

#include "preprocess/frame_source.h"
#include "preprocess/image.h"

namespace reelm::preprocess {
namespace {

class ImageFrames final : public FrameSource {
 public:
  explicit ImageFrames(const FrameOrder& order)
      : media_(order.media.impl()),
        limits_(order.limits),
        reference_(order.options.reference),
        cancel_(order.cancel) {}

  void read(std::int64_t, RgbFrame& frame) override {
    const auto start = std::chrono::steady_clock::now();
    image_ = decode_image(media_.image, media_.source.name(), limits_, reference_, cancel_);
    times_.decode +=
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count();
    frame.pixels = {image_.pixels.data(), {image_.size.height, image_.size.width, 3}};
    frame.pts = 0;
  }
  const StageTimes& times() const noexcept override { return times_; }

 private:
  const Media::Impl& media_;
  const Limits& limits_;
  Reference reference_;
  const CancelToken* cancel_;
  RgbImage image_;
  StageTimes times_;
};

}  // namespace

std::unique_ptr<FrameSource> make_image_frames(const FrameOrder& order) {
  return std::make_unique<ImageFrames>(order);
}

}  // namespace reelm::preprocess
