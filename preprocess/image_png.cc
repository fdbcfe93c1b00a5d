// PNG by libpng, with the conversions of Pillow's PngImagePlugin and convert("RGB").
#include <png.h>

#include <algorithm>
#include <csetjmp>
#include <cstring>
#include <vector>

#include "core/throw.h"
#include "preprocess/image_codecs.h"

namespace reelm::preprocess {
namespace {

/// libpng's state. libpng leaves its functions by longjmp, so the function that calls setjmp holds
/// nothing that needs a destructor: everything is here.
struct PngReader {
  png_structp png = nullptr;
  png_infop info = nullptr;
  std::span<const std::byte> bytes;
  std::size_t at = 0;
  char message[128] = {};
  const DecodeWatch* watch = nullptr;
  std::vector<std::uint8_t> pixels;  // rows as libpng gives them
  std::vector<png_bytep> rows;

  explicit PngReader(std::span<const std::byte> from) : bytes(from) {}
  PngReader(const PngReader&) = delete;
  PngReader& operator=(const PngReader&) = delete;
  ~PngReader() {
    if (png != nullptr) png_destroy_read_struct(&png, &info, nullptr);
  }
};

void on_error(png_structp png, png_const_charp text) {
  auto* reader = static_cast<PngReader*>(png_get_error_ptr(png));
  std::strncpy(reader->message, text, sizeof reader->message - 1);
  png_longjmp(png, 1);
}

void on_warning(png_structp, png_const_charp) {}

void on_read(png_structp png, png_bytep to, png_size_t n) {
  auto* reader = static_cast<PngReader*>(png_get_io_ptr(png));
  if (n > reader->bytes.size() - reader->at) png_error(png, "truncated");
  std::memcpy(to, reader->bytes.data() + reader->at, n);
  reader->at += n;
}

bool read_info(PngReader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_read_fn(r.png, &r, &on_read);
  png_read_info(r.png, r.info);
  return true;
}

void open_png(PngReader& r, const std::string& name) {
  r.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &r, &on_error, &on_warning);
  if (r.png != nullptr) r.info = png_create_info_struct(r.png);
  if (r.info == nullptr) {
    throw_error(ErrorCode::kOutOfMemory, "{}: a PNG decoder: allocation refused", name);
  }
  if (!read_info(r)) throw_error(ErrorCode::kFormat, "{}: a broken PNG: {}", name, r.message);
}

const char* mode_of(int color, int depth) {
  switch (color) {
    case PNG_COLOR_TYPE_GRAY:
      return depth == 1 ? "1" : depth == 16 ? "I;16" : "L";
    case PNG_COLOR_TYPE_PALETTE:
      return "P";
    case PNG_COLOR_TYPE_GRAY_ALPHA:
      return depth == 16 ? "RGBA" : "LA";  // Pillow has no 16-bit LA
    case PNG_COLOR_TYPE_RGB_ALPHA:
      return "RGBA";
    default:
      return "RGB";
  }
}

/// Asks libpng for 8-bit samples (16 for a 16-bit grey), without alpha from a tRNS chunk: Pillow's
/// convert("RGB") ignores that transparency.
bool start_rows(PngReader& r, int color, int depth) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  if (color == PNG_COLOR_TYPE_PALETTE) {
    png_set_palette_to_rgb(r.png);
    png_set_strip_alpha(r.png);
  } else if (depth < 8) {
    png_set_expand_gray_1_2_4_to_8(r.png);
  } else if (depth == 16 && color != PNG_COLOR_TYPE_GRAY) {
    png_set_strip_16(r.png);  // the upper byte, as Pillow's RGB;16B
  }
  png_set_interlace_handling(r.png);
  png_read_update_info(r.png, r.info);
  return true;
}

void on_row(png_structp png, png_uint_32, int) {
  if (static_cast<PngReader*>(png_get_io_ptr(png))->watch->over()) png_error(png, "interrupted");
}

bool read_rows(PngReader& r) {
  if (setjmp(png_jmpbuf(r.png)) != 0) return false;
  png_set_read_status_fn(r.png, &on_row);
  png_read_image(r.png, r.rows.data());
  return true;
}

void convert_row(const std::uint8_t* in, int channels, bool wide_grey, bool composite,
                 std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x, out += 3) {
    if (wide_grey) {  // Pillow clips 16-bit grey instead of scaling it
      out[0] = out[1] = out[2] = in[2 * x] != 0 ? 255 : in[2 * x + 1];
      continue;
    }
    const std::uint8_t* p = in + x * channels;
    for (int c = 0; c < 3; ++c) {
      const std::uint8_t value = channels >= 3 ? p[c] : p[0];
      out[c] = composite ? over_white(value, p[channels - 1]) : value;
    }
  }
}

}  // namespace

ImageHeader read_png_header(std::span<const std::byte> bytes, const std::string& name) {
  PngReader r(bytes);
  open_png(r, name);
  ImageHeader header;
  header.format = ImageFormat::kPng;
  header.size = {png_get_image_height(r.png, r.info), png_get_image_width(r.png, r.info)};
  header.bit_depth = png_get_bit_depth(r.png, r.info);
  header.mode = mode_of(png_get_color_type(r.png, r.info), header.bit_depth);
  return header;
}

void decode_png(std::span<const std::byte> bytes, const std::string& name,
                const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb) {
  PngReader r(bytes);
  open_png(r, name);
  r.watch = &watch;
  const int color = png_get_color_type(r.png, r.info);
  if (!start_rows(r, color, header.bit_depth)) {
    throw_error(ErrorCode::kFormat, "{}: a broken PNG: {}", name, r.message);
  }
  const std::size_t row_bytes = png_get_rowbytes(r.png, r.info);
  const auto height = static_cast<std::size_t>(header.size.height);
  r.pixels.resize(row_bytes * height);  // at most 4 bytes for each of frame-pixels
  r.rows.resize(height);
  for (std::size_t y = 0; y < height; ++y) r.rows[y] = r.pixels.data() + y * row_bytes;
  if (!read_rows(r)) {
    watch.check();
    throw_error(ErrorCode::kFormat, "{}: a broken or truncated PNG: {}", name, r.message);
  }
  const int channels = png_get_channels(r.png, r.info);
  const bool composite = header.mode == "RGBA";
  const bool wide_grey = header.mode == "I;16";
  for (std::size_t y = 0; y < height; ++y) {
    convert_row(r.rows[y], channels, wide_grey, composite, header.size.width,
                rgb + y * static_cast<std::size_t>(header.size.width) * 3);
  }
}

}  // namespace reelm::preprocess
