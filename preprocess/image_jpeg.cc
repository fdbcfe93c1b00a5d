// JPEG by libjpeg-turbo with its defaults (slow integer DCT, fancy upsampling), as in Pillow.
#include <cstdio>  // jpeglib.h uses FILE without including it
// clang-format off
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <csetjmp>
#include <vector>

#include "core/throw.h"
#include "preprocess/image_codecs.h"

namespace reelm::preprocess {
namespace {

/// See PngReader: libjpeg leaves by longjmp too.
struct JpegReader {
  jpeg_decompress_struct decoder{};
  jpeg_error_mgr errors{};
  jpeg_source_mgr source{};
  jpeg_progress_mgr progress{};
  const DecodeWatch* watch = nullptr;
  std::jmp_buf jump{};
  char message[JMSG_LENGTH_MAX] = {};
  bool created = false;
  bool truncated = false;
  std::vector<std::uint8_t> row;

  JpegReader() = default;
  JpegReader(const JpegReader&) = delete;
  JpegReader& operator=(const JpegReader&) = delete;
  ~JpegReader() {
    if (created) jpeg_destroy_decompress(&decoder);
  }
};

JpegReader& reader_of(j_common_ptr decoder) {
  return *static_cast<JpegReader*>(decoder->client_data);
}

[[noreturn]] void on_error(j_common_ptr decoder) {
  JpegReader& r = reader_of(decoder);
  decoder->err->format_message(decoder, r.message);
  std::longjmp(r.jump, 1);
}

void on_message(j_common_ptr) {}

void on_progress(j_common_ptr decoder) {
  JpegReader& r = reader_of(decoder);
  if (r.watch->over()) std::longjmp(r.jump, 1);
}

void nothing(j_decompress_ptr) {}

boolean on_empty(j_decompress_ptr decoder) {
  JpegReader& r = reader_of(reinterpret_cast<j_common_ptr>(decoder));
  r.truncated = true;
  on_error(reinterpret_cast<j_common_ptr>(decoder));
}

void on_skip(j_decompress_ptr decoder, long n) {
  if (n <= 0) return;
  jpeg_source_mgr& source = *decoder->src;
  if (static_cast<std::size_t>(n) > source.bytes_in_buffer) {
    on_empty(decoder);
  }
  source.next_input_byte += n;
  source.bytes_in_buffer -= static_cast<std::size_t>(n);
}

bool read_header(JpegReader& r, std::span<const std::byte> bytes) {
  r.decoder.err = jpeg_std_error(&r.errors);
  r.errors.error_exit = &on_error;
  r.errors.output_message = &on_message;
  r.decoder.client_data = &r;
  if (setjmp(r.jump) != 0) return false;
  jpeg_create_decompress(&r.decoder);
  r.created = true;
  r.decoder.client_data = &r;
  r.source.init_source = &nothing;
  r.source.fill_input_buffer = &on_empty;
  r.source.skip_input_data = &on_skip;
  r.source.resync_to_restart = &jpeg_resync_to_restart;
  r.source.term_source = &nothing;
  r.source.next_input_byte = reinterpret_cast<const JOCTET*>(bytes.data());
  r.source.bytes_in_buffer = bytes.size();
  r.decoder.src = &r.source;
  jpeg_read_header(&r.decoder, TRUE);
  return true;
}

[[noreturn]] void fail(const JpegReader& r, const std::string& name) {
  throw_error(ErrorCode::kFormat, "{}: a broken JPEG: {}", name,
              r.truncated ? "truncated" : r.message);
}

void open_jpeg(JpegReader& r, std::span<const std::byte> bytes, const std::string& name) {
  if (!read_header(r, bytes)) fail(r, name);
  if (r.decoder.data_precision != 8) {
    throw_error(ErrorCode::kUnsupported, "{}: a JPEG of {} bits a sample, expected 8", name,
                r.decoder.data_precision);
  }
  const int n = r.decoder.num_components;
  if (n != 1 && n != 3 && n != 4) {
    throw_error(ErrorCode::kUnsupported, "{}: a JPEG of {} components, expected 1, 3 or 4", name,
                n);
  }
}

/// Pillow takes every JPEG of four components for Adobe's, which stores them inverted.
void cmyk_to_rgb(const std::uint8_t* in, std::int64_t width, std::uint8_t* out) {
  for (std::int64_t x = 0; x < width; ++x, in += 4, out += 3) {
    const int white = in[3];  // 255 - (255 - k)
    for (int c = 0; c < 3; ++c) {
      const int product = (255 - in[c]) * white + 128;  // Pillow's MULDIV255
      out[c] =
          static_cast<std::uint8_t>(std::clamp(white - ((product + (product >> 8)) >> 8), 0, 255));
    }
  }
}

bool read_rows(JpegReader& r, std::uint8_t* rgb) {
  if (setjmp(r.jump) != 0) return false;
  jpeg_start_decompress(&r.decoder);
  const std::size_t width = r.decoder.output_width;
  while (r.decoder.output_scanline < r.decoder.output_height) {
    std::uint8_t* out = rgb + static_cast<std::size_t>(r.decoder.output_scanline) * width * 3;
    if (r.decoder.output_components == 3) {
      JSAMPROW row = out;
      jpeg_read_scanlines(&r.decoder, &row, 1);
      continue;
    }
    JSAMPROW row = r.row.data();
    jpeg_read_scanlines(&r.decoder, &row, 1);
    if (r.decoder.output_components == 4) {
      cmyk_to_rgb(row, static_cast<std::int64_t>(width), out);
    } else {
      for (std::size_t x = 0; x < width; ++x) out[3 * x] = out[3 * x + 1] = out[3 * x + 2] = row[x];
    }
  }
  return true;
}

}  // namespace

ImageHeader read_jpeg_header(std::span<const std::byte> bytes, const std::string& name) {
  JpegReader r;
  open_jpeg(r, bytes, name);
  ImageHeader header;
  header.format = ImageFormat::kJpeg;
  header.size = {r.decoder.image_height, r.decoder.image_width};
  header.mode = r.decoder.num_components == 1   ? "L"
                : r.decoder.num_components == 3 ? "RGB"
                                                : "CMYK";
  return header;
}

void decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb) {
  JpegReader r;
  open_jpeg(r, bytes, name);
  r.watch = &watch;
  r.progress.progress_monitor = &on_progress;
  r.decoder.progress = &r.progress;
  r.decoder.out_color_space = header.mode == "L"      ? JCS_GRAYSCALE
                              : header.mode == "CMYK" ? JCS_CMYK
                                                      : JCS_RGB;
  r.row.resize(static_cast<std::size_t>(header.size.width) * 4);
  if (read_rows(r, rgb)) return;
  watch.check();
  fail(r, name);
}

}  // namespace reelm::preprocess
