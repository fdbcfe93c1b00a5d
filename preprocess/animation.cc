#include "preprocess/animation.h"

#include <webp/decode.h>
#include <webp/demux.h>

#include <cstring>
#include <utility>

#include "core/throw.h"
#include "preprocess/image_codecs.h"

namespace reelm::preprocess {
namespace {

// Chunks before the first picture of a PNG that are looked at; real files have a dozen.
constexpr int kMaxChunks = 256;

std::uint32_t big_endian(const std::uint8_t* p) {
  return std::uint32_t{p[0]} << 24 | std::uint32_t{p[1]} << 16 | std::uint32_t{p[2]} << 8 | p[3];
}

struct DemuxDeleter {
  void operator()(WebPDemuxer* d) const noexcept { WebPDemuxDelete(d); }
};

WebPData webp_data(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()};
}

[[noreturn]] void throw_broken(const std::string& name) {
  throw_error(ErrorCode::kFormat, "{}: a broken or truncated WebP", name);
}

}  // namespace

bool is_animated_png(ByteSource& bytes) {
  constexpr std::int64_t kSignature = 8, kAround = 12;  // length and name before, checksum after
  std::int64_t at = kSignature;
  for (int i = 0; i < kMaxChunks; ++i) {
    std::uint8_t chunk[12];  // and the first number in it
    if (bytes.read(at, chunk, sizeof chunk) < sizeof chunk) return false;
    if (std::memcmp(chunk + 4, "acTL", 4) == 0) return big_endian(chunk + 8) > 1;
    if (std::memcmp(chunk + 4, "IDAT", 4) == 0) return false;
    at += kAround + big_endian(chunk);
  }
  return false;
}

WebpTimes read_webp_times(std::span<const std::byte> bytes, const std::string& name) {
  const WebPData data = webp_data(bytes);
  const std::unique_ptr<WebPDemuxer, DemuxDeleter> demuxer(WebPDemux(&data));
  WebPIterator frame;
  if (!demuxer || WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) throw_broken(name);
  WebpTimes times;
  do {
    times.begin.push_back(times.end);
    times.end += frame.duration;  // 24 bits
  } while (WebPDemuxNextFrame(&frame) != 0);
  WebPDemuxReleaseIterator(&frame);
  return times;
}

struct WebpAnimation::Decoder {
  explicit Decoder(std::span<const std::byte> bytes) : data(webp_data(bytes)) {
    WebPAnimDecoderOptions options;
    if (WebPAnimDecoderOptionsInit(&options) == 0) return;
    options.color_mode = MODE_RGBA;
    decoder = WebPAnimDecoderNew(&data, &options);
    if (decoder != nullptr) WebPAnimDecoderGetInfo(decoder, &info);
  }
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;
  ~Decoder() { WebPAnimDecoderDelete(decoder); }

  WebPData data;
  WebPAnimDecoder* decoder = nullptr;
  WebPAnimInfo info{};
  std::uint8_t* rgba = nullptr;  // the canvas, the decoder's
};

WebpAnimation::WebpAnimation(std::span<const std::byte> bytes, std::string name,
                             Reference reference)
    : decoder_(std::make_unique<Decoder>(bytes)), name_(std::move(name)) {
  if (decoder_->decoder == nullptr) throw_broken(name_);
  const WebPDemuxer* demuxer = WebPAnimDecoderGetDemuxer(decoder_->decoder);
  const bool alpha = (WebPDemuxGetI(demuxer, WEBP_FF_FORMAT_FLAGS) & ALPHA_FLAG) != 0;
  on_white_ = alpha && reference == Reference::kQwenVlUtils;
  rgb_ = AlignedBuffer<std::uint8_t>(std::size_t{3} * decoder_->info.canvas_width *
                                     decoder_->info.canvas_height);
}

WebpAnimation::~WebpAnimation() = default;

void WebpAnimation::decode_next() {
  int end_ms = 0;
  if (WebPAnimDecoderGetNext(decoder_->decoder, &decoder_->rgba, &end_ms) == 0) {
    throw_error(ErrorCode::kFormat, "{}: frame {} of an animated WebP is broken", name_, decoded_);
  }
  ++decoded_;
}

TensorView<const std::uint8_t> WebpAnimation::pixels() {
  const std::int64_t width = decoder_->info.canvas_width, height = decoder_->info.canvas_height;
  for (std::int64_t i = 0; decoder_->rgba != nullptr && i < width * height; ++i) {
    const std::uint8_t* p = decoder_->rgba + i * 4;
    for (int c = 0; c < 3; ++c) rgb_.data()[i * 3 + c] = on_white_ ? over_white(p[c], p[3]) : p[c];
  }
  return {rgb_.data(), {height, width, 3}};
}

}  // namespace reelm::preprocess
