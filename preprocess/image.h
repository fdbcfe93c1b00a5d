// Still images: PNG, JPEG and WebP to RGB8, as Pillow decodes them and qwen-vl-utils' to_rgb
// converts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "../core/aligned_buffer.h"
#include "../core/cancel.h"
#include "../core/limits.h"
#include "sampling.h"

namespace reelm::preprocess {

enum class ImageFormat { kPng, kJpeg, kWebp };

/// "png", "jpeg", "webp".
const char* image_format_name(ImageFormat format) noexcept;

/// From the first bytes (12 are enough); nothing when they are no such image.
std::optional<ImageFormat> detect_image(std::span<const std::byte> head) noexcept;

/// Bytes a pixel takes while an image is decoded: the codec's RGBA and the RGB made of it.
inline constexpr std::int64_t kDecodedImagePixel = 7;

/// What the header says.
struct ImageHeader {
  ImageFormat format = ImageFormat::kPng;
  Size size;
  std::string mode;  ///< Pillow's mode: "RGB", "RGBA", "L", "LA", "P", "1", "I;16", "CMYK", ...
  int bit_depth = 8;
  bool animated = false;  ///< a WebP with a frame or more instead of a picture
};

/// Throws Error: kFormat (broken), kLimit (frame_pixels, decoded_bytes), kUnsupported.
ImageHeader read_image_header(std::span<const std::byte> bytes, const std::string& name,
                              const Limits& limits = {});

/// Decoded RGB, [height, width, 3], dense.
struct RgbImage {
  Size size;
  AlignedBuffer<std::uint8_t> pixels;
};

/// Decodes a whole image. kQwenVlUtils: RGBA (also in WebP) is composited on white, as to_rgb does,
/// and EXIF orientation is not applied. kHf: alpha is dropped and EXIF orientation is applied, as
/// transformers' load_image does. Everything else is converted as PIL.Image.convert("RGB"). The
/// first frame of an animated WebP. Size is checked before anything is allocated. Throws as
/// read_image_header, and kFormat for a truncated image, kLimit (stall_seconds), kCancelled.
RgbImage decode_image(std::span<const std::byte> bytes, const std::string& name,
                      const Limits& limits = {}, Reference reference = Reference::kQwenVlUtils,
                      const CancelToken* cancel = nullptr);

/// Size of the picture that decode_image gives: kHf obeys EXIF, which may exchange the sides.
Size decoded_size(std::span<const std::byte> bytes, Size stored, Reference reference) noexcept;

}  // namespace reelm::preprocess
