#include "preprocess/frame_budget.h"

#include <algorithm>
#include <new>
#include <utility>

#include "core/checked.h"
#include "core/throw.h"

namespace reelm::preprocess {
namespace {

// What a decoder holds besides a frame a thread: the 16 references that H.264 and HEVC allow at
// most, those on their way out, and two with the reader.
constexpr std::int64_t kHeldFrames = 20;
// Of a pixel, where the format is not known yet: the widest in use (RGBA of 16 bits).
constexpr std::int64_t kWidestPixel = 8;

std::int64_t frame_bytes(int format, int width, int height) {
  const int bytes =
      av_image_get_buffer_size(static_cast<AVPixelFormat>(format), width, height, /*align=*/64);
  if (bytes > 0) return bytes;
  return static_cast<std::int64_t>(width) * height * kWidestPixel;
}

}  // namespace

/// Stands around the first buffer of a frame until the last reference to it goes.
struct FrameBudget::Counted {
  std::shared_ptr<Shared> shared;
  AVBufferRef* buffer;
  std::int64_t bytes;
};

FrameBudget::FrameBudget(const Limits& limits, std::string name)
    : name_(std::move(name)), shared_(std::make_shared<Shared>()) {
  shared_->limit = limits.decoded_bytes;
}

int FrameBudget::threads(const AVCodecParameters& parameters, int threads) const {
  const std::int64_t one = frame_bytes(parameters.format, parameters.width, parameters.height);
  if (one > shared_->limit) fail(one);
  const std::int64_t room = shared_->limit / std::max<std::int64_t>(one, 1) - kHeldFrames;
  return static_cast<int>(std::clamp<std::int64_t>(room, 1, threads));
}

std::int64_t FrameBudget::most(const Limits& limits, const StreamInfo& stream, int threads) {
  const AVPixelFormat format = av_get_pix_fmt(stream.pixel_format.c_str());  // -1: not known
  const std::int64_t one =
      frame_bytes(format, static_cast<int>(stream.width), static_cast<int>(stream.height));
  return std::min(limits.decoded_bytes,
                  checked_mul(one, kHeldFrames + threads, "frames of the decoder"));
}

void FrameBudget::attach(AVCodecContext& codec) {
  codec.opaque = shared_.get();
  codec.get_buffer2 = &get_buffer;
#if LIBAVCODEC_VERSION_MAJOR < 60  // later ones call back from any thread, asked or not
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  codec.thread_safe_callbacks = 1;
#pragma GCC diagnostic pop
#endif
}

void FrameBudget::check() const {
  if (shared_->refused) fail(0);
}

void FrameBudget::fail(std::int64_t frame_bytes) const {
  if (frame_bytes > 0) {
    throw_error(ErrorCode::kLimit,
                "{}: a decoded frame has {} bytes, over the limit decoded-bytes ({})", name_,
                frame_bytes, shared_->limit);
  }
  throw_error(ErrorCode::kLimit,
              "{}: the decoder holds {} bytes of frames and wants one more, over the limit "
              "decoded-bytes ({})",
              name_, shared_->alive.load(), shared_->limit);
}

int FrameBudget::get_buffer(AVCodecContext* codec, AVFrame* frame, int flags) {
  Shared& shared = *static_cast<Shared*>(codec->opaque);
  const std::int64_t bytes = frame_bytes(frame->format, frame->width, frame->height);
  if (shared.alive.fetch_add(bytes) + bytes > shared.limit) {
    shared.alive -= bytes;
    shared.refused = true;
    return AVERROR(ENOMEM);
  }
  const int got = avcodec_default_get_buffer2(codec, frame, flags);
  if (got >= 0 && count(shared, *frame, bytes)) return got;
  for (AVBufferRef*& buffer : frame->buf) av_buffer_unref(&buffer);
  shared.alive -= bytes;
  return got < 0 ? got : AVERROR(ENOMEM);
}

bool FrameBudget::count(Shared& shared, AVFrame& frame, std::int64_t bytes) {
  AVBufferRef* first = frame.buf[0];
  auto* counted = new (std::nothrow) Counted{shared.shared_from_this(), first, bytes};
  if (counted == nullptr) return false;
  AVBufferRef* around = av_buffer_create(first->data, first->size, &release, counted, 0);
  if (around == nullptr) {
    delete counted;
    return false;
  }
  frame.buf[0] = around;
  return true;
}

void FrameBudget::release(void* counted, std::uint8_t*) {
  auto* c = static_cast<Counted*>(counted);
  c->shared->alive -= c->bytes;
  av_buffer_unref(&c->buffer);
  delete c;
}

}  // namespace reelm::preprocess
