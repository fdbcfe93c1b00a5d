// WebP by libwebp: still images, and the first frame of animations.
#include <webp/decode.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "core/throw.h"
#include "preprocess/image_codecs.h"

namespace reelm::preprocess {
namespace {

const std::uint8_t* data_of(std::span<const std::byte> bytes) {
  return reinterpret_cast<const std::uint8_t*>(bytes.data());
}

std::uint32_t little_endian(const std::uint8_t* p, int n) {
  std::uint32_t value = 0;
  for (int i = n - 1; i >= 0; --i) value = value << 8 | p[i];
  return value;
}

/// Where the first frame of an animation is stored, and where on the canvas it goes.
struct FirstFrame {
  std::span<const std::byte> data;  // ALPH and VP8 or VP8L chunks
  std::int64_t x = 0, y = 0, width = 0, height = 0;
};

FirstFrame find_first_frame(std::span<const std::byte> bytes, const std::string& name) {
  constexpr std::size_t kRiff = 12, kChunk = 8, kFrameHeader = 16;
  for (std::size_t at = kRiff; bytes.size() - at >= kChunk;) {
    const std::uint8_t* chunk = data_of(bytes) + at;
    const std::size_t size = little_endian(chunk + 4, 4);
    const std::size_t left = bytes.size() - at - kChunk;
    if (std::memcmp(chunk, "ANMF", 4) == 0) {
      if (size < kFrameHeader || size > left) break;
      const std::uint8_t* p = chunk + kChunk;
      FirstFrame frame;
      frame.x = std::int64_t{2} * little_endian(p, 3);
      frame.y = std::int64_t{2} * little_endian(p + 3, 3);
      frame.width = little_endian(p + 6, 3) + std::int64_t{1};
      frame.height = little_endian(p + 9, 3) + std::int64_t{1};
      frame.data = bytes.subspan(at + kChunk + kFrameHeader, size - kFrameHeader);
      return frame;
    }
    const std::size_t padded = size + (size & 1);  // at most 2^32: no overflow
    if (padded > left) break;
    at += kChunk + padded;
  }
  throw_error(ErrorCode::kFormat, "{}: an animated WebP without a whole frame", name);
}

WebPBitstreamFeatures features_of(std::span<const std::byte> bytes, const std::string& name) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(data_of(bytes), bytes.size(), &features);
  if (status != VP8_STATUS_OK) {
    throw_error(ErrorCode::kFormat, "{}: a broken or truncated WebP (libwebp status {})", name,
                static_cast<int>(status));
  }
  return features;
}

/// Bytes that libwebp is given between two looks at the watch: all of an image at once may take it
/// seconds (16.7 M pixels of noise in 18 MB), these 0.02 s of such data.
constexpr std::size_t kPiece = std::size_t{64} << 10;

/// RGBA of `data` into a canvas of `stride` bytes a row.
void decode_rgba(std::span<const std::byte> data, std::uint8_t* to, std::size_t size,
                 std::int64_t stride, const DecodeWatch& watch, const std::string& name) {
  const std::unique_ptr<WebPIDecoder, decltype(&WebPIDelete)> decoder(
      WebPINewRGB(MODE_RGBA, to, size, static_cast<int>(stride)), &WebPIDelete);
  if (!decoder) throw_error(ErrorCode::kOutOfMemory, "{}: no memory to decode a WebP", name);
  VP8StatusCode status = VP8_STATUS_SUSPENDED;
  for (std::size_t known = 0; status == VP8_STATUS_SUSPENDED && known < data.size();) {
    watch.check();
    known = std::min(data.size(), known + kPiece);
    status = WebPIUpdate(decoder.get(), data_of(data), known);
  }
  if (status != VP8_STATUS_OK) {
    throw_error(status == VP8_STATUS_OUT_OF_MEMORY ? ErrorCode::kOutOfMemory : ErrorCode::kFormat,
                "{}: a broken or truncated WebP (libwebp status {})", name,
                static_cast<int>(status));
  }
}

}  // namespace

ImageHeader read_webp_header(std::span<const std::byte> bytes, const std::string& name) {
  const WebPBitstreamFeatures features = features_of(bytes, name);
  ImageHeader header;
  header.format = ImageFormat::kWebp;
  header.size = {features.height, features.width};
  header.mode = features.has_alpha != 0 ? "RGBA" : "RGB";
  header.animated = features.has_animation != 0;
  return header;
}

void decode_webp(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb) {
  const auto [height, width] = header.size;
  const std::int64_t stride = width * 4;
  // What no frame covers stays transparent.
  std::vector<std::uint8_t> canvas(static_cast<std::size_t>(stride * height), 0);
  if (features_of(bytes, name).has_animation != 0) {
    const FirstFrame f = find_first_frame(bytes, name);
    const WebPBitstreamFeatures inner = features_of(f.data, name);
    if (f.x + f.width > width || f.y + f.height > height || inner.width != f.width ||
        inner.height != f.height) {
      throw_error(ErrorCode::kFormat, "{}: a WebP frame of {}x{} at {},{} on a canvas of {}x{}",
                  name, inner.width, inner.height, f.x, f.y, width, height);
    }
    const std::int64_t offset = f.y * stride + f.x * 4;
    decode_rgba(f.data, canvas.data() + offset, canvas.size() - static_cast<std::size_t>(offset),
                stride, watch, name);
  } else {
    decode_rgba(bytes, canvas.data(), canvas.size(), stride, watch, name);
  }
  const bool composite = header.mode == "RGBA";
  for (std::int64_t i = 0; i < width * height; ++i) {
    const std::uint8_t* p = canvas.data() + i * 4;
    for (int c = 0; c < 3; ++c) rgb[i * 3 + c] = composite ? over_white(p[c], p[3]) : p[c];
  }
}

}  // namespace reelm::preprocess
