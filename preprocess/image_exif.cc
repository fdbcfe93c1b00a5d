#include "preprocess/image_exif.h"

#include <cstdint>
#include <cstring>
#include <optional>

namespace reelm::preprocess {
namespace {

using Bytes = std::span<const std::byte>;

std::uint32_t big_endian(Bytes bytes, std::size_t at, int n) {
  std::uint32_t value = 0;
  for (int i = 0; i < n; ++i) {
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]);
  }
  return value;
}

std::uint32_t little_endian(Bytes bytes, std::size_t at, int n) {
  std::uint32_t value = 0;
  for (int i = n - 1; i >= 0; --i) {
    value = value << 8 | std::to_integer<std::uint32_t>(bytes[at + static_cast<std::size_t>(i)]);
  }
  return value;
}

bool matches(Bytes bytes, std::size_t at, const char* text, std::size_t n) {
  return at <= bytes.size() && n <= bytes.size() - at &&
         std::memcmp(bytes.data() + at, text, n) == 0;
}

/// The TIFF block of a JPEG: an APP1 segment that begins with "Exif\0\0".
std::optional<Bytes> find_in_jpeg(Bytes bytes) {
  for (std::size_t at = 2; at + 4 <= bytes.size();) {
    if (bytes[at] != std::byte{0xff}) return std::nullopt;
    const auto marker = std::to_integer<unsigned>(bytes[at + 1]);
    if (marker == 0xff) {  // padding
      ++at;
      continue;
    }
    if (marker == 0xda || marker == 0xd9) return std::nullopt;  // pixels begin, or the end
    const std::size_t length = big_endian(bytes, at + 2, 2);
    if (length < 2 || length > bytes.size() - at - 2) return std::nullopt;
    if (marker == 0xe1 && length >= 8 && matches(bytes, at + 4, "Exif\0\0", 6)) {
      return bytes.subspan(at + 10, length - 8);
    }
    at += 2 + length;
  }
  return std::nullopt;
}

/// The TIFF block of a PNG: its eXIf chunk.
std::optional<Bytes> find_in_png(Bytes bytes) {
  for (std::size_t at = 8; at + 12 <= bytes.size();) {
    const std::size_t length = big_endian(bytes, at, 4);
    if (length > bytes.size() - at - 12) return std::nullopt;
    if (matches(bytes, at + 4, "eXIf", 4)) return bytes.subspan(at + 8, length);
    at += 12 + length;
  }
  return std::nullopt;
}

/// The TIFF block of a WebP: its EXIF chunk, with or without "Exif\0\0" in front.
std::optional<Bytes> find_in_webp(Bytes bytes) {
  for (std::size_t at = 12; at + 8 <= bytes.size();) {
    const std::size_t length = little_endian(bytes, at + 4, 4);
    if (length > bytes.size() - at - 8) return std::nullopt;
    if (matches(bytes, at, "EXIF", 4)) {
      const Bytes block = bytes.subspan(at + 8, length);
      return matches(block, 0, "Exif\0\0", 6) ? block.subspan(6) : block;
    }
    at += 8 + length + (length & 1);
  }
  return std::nullopt;
}

/// Tag 0x0112 of the first directory of a TIFF block.
int orientation_of(Bytes tiff) {
  constexpr std::size_t kEntry = 12;
  const bool little = matches(tiff, 0, "II*\0", 4);
  if (!little && !matches(tiff, 0, "MM\0*", 4)) return 1;
  const auto read = [&](std::size_t at, int n) {
    return little ? little_endian(tiff, at, n) : big_endian(tiff, at, n);
  };
  if (tiff.size() < 8) return 1;
  const std::size_t directory = read(4, 4);
  if (directory > tiff.size() || tiff.size() - directory < 2) return 1;
  const std::size_t count = read(directory, 2);
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t at = directory + 2 + i * kEntry;
    if (at > tiff.size() || tiff.size() - at < kEntry) return 1;
    if (read(at, 2) != 0x0112) continue;
    const std::uint32_t value = read(at + 8, 2);  // a SHORT lies at the start of its field
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

}  // namespace

int exif_orientation(std::span<const std::byte> bytes) noexcept {
  const std::optional<ImageFormat> format = detect_image(bytes);
  std::optional<Bytes> block;
  if (format == ImageFormat::kJpeg) block = find_in_jpeg(bytes);
  if (format == ImageFormat::kPng) block = find_in_png(bytes);
  if (format == ImageFormat::kWebp) block = find_in_webp(bytes);
  return block ? orientation_of(*block) : 1;
}

RgbImage exif_transpose(RgbImage image, int orientation) {
  if (orientation <= 1) return image;
  const auto [height, width] = image.size;
  RgbImage out;
  out.size = exif_swaps_sides(orientation) ? Size{width, height} : image.size;
  out.pixels = AlignedBuffer<std::uint8_t>(image.pixels.size());
  // Where pixel (y, x) of the stored picture comes from, by what the orientation says of row 0 and
  // column 0: 2 mirrored, 3 turned by 180, 4 flipped, 5 transposed, 6 turned clockwise, 7
  // transposed the other way, 8 turned counterclockwise.
  for (std::int64_t y = 0; y < out.size.height; ++y) {
    for (std::int64_t x = 0; x < out.size.width; ++x) {
      std::int64_t sy = exif_swaps_sides(orientation) ? x : y;
      std::int64_t sx = exif_swaps_sides(orientation) ? y : x;
      if (orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7) {
        sy = height - 1 - sy;
      }
      if (orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8) {
        sx = width - 1 - sx;
      }
      std::memcpy(out.pixels.data() + (y * out.size.width + x) * 3,
                  image.pixels.data() + (sy * width + sx) * 3, 3);
    }
  }
  return out;
}

}  // namespace reelm::preprocess
