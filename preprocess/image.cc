#include "preprocess/image.h"

#include <cstring>
#include <utility>

#include "core/checked.h"
#include "core/throw.h"
#include "preprocess/image_codecs.h"
#include "preprocess/image_exif.h"

namespace reelm::preprocess {
namespace {

bool starts_with(std::span<const std::byte> bytes, std::size_t at, const char* text,
                 std::size_t n) {
  return bytes.size() >= at + n && std::memcmp(bytes.data() + at, text, n) == 0;
}

}  // namespace

const char* image_format_name(ImageFormat format) noexcept {
  switch (format) {
    case ImageFormat::kPng:
      return "png";
    case ImageFormat::kJpeg:
      return "jpeg";
    case ImageFormat::kWebp:
      return "webp";
  }
  return "?";
}

std::optional<ImageFormat> detect_image(std::span<const std::byte> head) noexcept {
  if (starts_with(head, 0, "\x89PNG\r\n\x1a\n", 8)) return ImageFormat::kPng;
  if (starts_with(head, 0, "\xff\xd8\xff", 3)) return ImageFormat::kJpeg;
  if (starts_with(head, 0, "RIFF", 4) && starts_with(head, 8, "WEBP", 4)) return ImageFormat::kWebp;
  return std::nullopt;
}

ImageHeader read_image_header(std::span<const std::byte> bytes, const std::string& name,
                              const Limits& limits) {
  const std::optional<ImageFormat> format = detect_image(bytes);
  if (!format) throw_error(ErrorCode::kFormat, "{}: no PNG, JPEG or WebP image", name);
  ImageHeader header;
  switch (*format) {
    case ImageFormat::kPng:
      header = read_png_header(bytes, name);
      break;
    case ImageFormat::kJpeg:
      header = read_jpeg_header(bytes, name);
      break;
    case ImageFormat::kWebp:
      header = read_webp_header(bytes, name);
      break;
  }
  const auto [height, width] = header.size;
  if (height < 1 || width < 1) {
    throw_error(ErrorCode::kFormat, "{}: an image of {}x{} pixels", name, width, height);
  }
  if (checked_mul(height, width, "image") > limits.frame_pixels) {
    throw_error(ErrorCode::kLimit, "{}: an image of {}x{}, over the limit frame-pixels ({})", name,
                width, height, limits.frame_pixels);
  }
  const std::int64_t decoded = checked_mul(height * width, kDecodedImagePixel, "image");
  if (decoded > limits.decoded_bytes) {
    throw_error(ErrorCode::kLimit,
                "{}: an image of {}x{} takes {} bytes, over the limit "
                "decoded-bytes ({})",
                name, width, height, decoded, limits.decoded_bytes);
  }
  return header;
}

void DecodeWatch::check() const {
  if (cancel_ != nullptr) cancel_->check();
  if (seconds() > limits_.stall_seconds) {
    throw_error(ErrorCode::kLimit, "{}: not decoded within {} seconds, the limit stall-seconds",
                name_, limits_.stall_seconds);
  }
}

RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name,
                      const Limits& limits, Reference reference, const CancelToken* cancel) {
  ImageHeader header = read_image_header(bytes, name, limits);
  const bool hf = reference == Reference::kHf;
  // The decoders composite what says "RGBA"; transformers' convert("RGB") forgets alpha.
  if (hf && header.mode == "RGBA") header.mode = "RGB";
  const DecodeWatch watch(name, limits, cancel);
  RgbImage image;
  image.size = header.size;
  image.pixels = AlignedBuffer<std::uint8_t>(
      static_cast<std::size_t>(header.size.height * header.size.width * 3));
  switch (header.format) {
    case ImageFormat::kPng:
      decode_png(bytes, name, header, watch, image.pixels.data());
      break;
    case ImageFormat::kJpeg:
      decode_jpeg(bytes, name, header, watch, image.pixels.data());
      break;
    case ImageFormat::kWebp:
      decode_webp(bytes, name, header, watch, image.pixels.data());
      break;
  }
  return hf ? exif_transpose(std::move(image), exif_orientation(bytes)) : std::move(image);
}

Size decoded_size(std::span<const std::byte> bytes, Size stored, Reference reference) noexcept {
  if (reference != Reference::kHf || !exif_swaps_sides(exif_orientation(bytes))) return stored;
  return {stored.width, stored.height};
}

}  // namespace reelm::preprocess
