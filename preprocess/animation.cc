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

std::uint32_t little_endian(const std::byte* p) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i) value = value << 8 | std::to_integer<std::uint32_t>(p[i]);
  return value;
}

// "RIFF", the size of all that follows, "WEBP"; then chunks: a name, a size, that many bytes, and
// one more where it is odd.
constexpr std::size_t kRiffSize = 4, kRiff = 12, kChunk = 8;

/// Where the chunks of frames end that lie in the file whole.
std::vector<std::size_t> ends_of_frames(std::span<const std::byte> bytes) {
  std::vector<std::size_t> ends;
  for (std::size_t at = kRiff; at <= bytes.size() && bytes.size() - at >= kChunk;) {
    const std::byte* chunk = bytes.data() + at;
    const std::size_t size = little_endian(chunk + 4);
    const std::size_t padded = size + (size & 1);  // at most 2^32: no overflow
    if (padded > bytes.size() - at - kChunk) break;
    at += kChunk + padded;
    if (std::memcmp(chunk, "ANMF", 4) == 0) ends.push_back(at);
  }
  return ends;
}

using Demux = std::unique_ptr<WebPDemuxer, DemuxDeleter>;

Demux demux(std::span<const std::byte> bytes) {
  const WebPData data = webp_data(bytes);
  return Demux(WebPDemux(&data));
}

/// The file up to `end`, as a file of that length: its header is changed.
Demux demux_part(std::span<std::byte> bytes, std::size_t end) {
  for (std::size_t i = 0; i < 4; ++i) {
    bytes[kRiffSize + i] = static_cast<std::byte>((end - kChunk) >> (8 * i) & 255);
  }
  return demux(bytes.first(end));
}

/// Cuts a file that libwebp refuses behind the last frame up to which it does not.
Demux cut_to_whole_frames(std::vector<std::byte>& bytes, const std::string& name,
                          WebpTimes& times) {
  const std::vector<std::size_t> ends = ends_of_frames(bytes);
  if (ends.empty()) throw_broken(name);
  const std::uint64_t promised = std::uint64_t{little_endian(bytes.data() + kRiffSize)} + kChunk;
  // With one frame too many it is refused, however many more there are.
  std::size_t whole = 0;
  for (std::size_t more = ends.size(); whole < more;) {
    const std::size_t middle = whole + (more - whole + 1) / 2;
    if (demux_part(bytes, ends[middle - 1])) {
      whole = middle;
    } else {
      more = middle - 1;
    }
  }
  if (whole == 0) throw_broken(name);
  times.truncated = promised > bytes.size();
  times.loss =
      times.truncated
          ? fmt::format(
                "{}: truncated: {} of {} bytes are missing at the end; {} frames "
                "are left",
                name, promised - bytes.size(), promised, whole)
          : fmt::format("{}: damaged behind frame {}; what follows is lost", name, whole - 1);
  bytes.resize(ends[whole - 1]);
  return demux_part(bytes, bytes.size());
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

WebpTimes read_webp_times(std::vector<std::byte>& bytes, const std::string& name) {
  WebpTimes times;
  Demux demuxer = demux(bytes);
  if (!demuxer) demuxer = cut_to_whole_frames(bytes, name, times);
  WebPIterator frame;
  if (!demuxer || WebPDemuxGetFrame(demuxer.get(), 1, &frame) == 0) throw_broken(name);
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
  good_ = decoder_->info.frame_count;
  rgb_ = AlignedBuffer<std::uint8_t>(std::size_t{3} * decoder_->info.canvas_width *
                                     decoder_->info.canvas_height);
}

WebpAnimation::~WebpAnimation() = default;

void WebpAnimation::decode_next() {
  int end_ms = 0;
  if (decoded_ >= good_) return;
  if (WebPAnimDecoderGetNext(decoder_->decoder, &decoder_->rgba, &end_ms) != 0) {
    ++decoded_;
    return;
  }
  // Parts of the broken frame are drawn, and later ones are drawn upon it.
  good_ = std::exchange(decoded_, 0);
  if (good_ == 0) {
    throw_error(ErrorCode::kFormat, "{}: the first frame of an animated WebP is broken", name_);
  }
  WebPAnimDecoderReset(decoder_->decoder);
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
