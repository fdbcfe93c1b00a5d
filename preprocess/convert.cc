#include "preprocess/convert.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/throw.h"

namespace reelm::preprocess {
namespace {

/// Not a palette's, whose second plane has no rows.
bool has_fields(const AVFrame& frame) {
  if (frame.format == AV_PIX_FMT_PAL8 || frame.height < 2) return false;
#if LIBAVUTIL_VERSION_INT >= AV_VERSION_INT(58, 7, 100)  // FFmpeg 6.1
  return (frame.flags & AV_FRAME_FLAG_INTERLACED) != 0;
#else
  return frame.interlaced_frame != 0;
#endif
}

}  // namespace

TensorView<const std::uint8_t> RgbConverter::convert(const AVFrame& frame) {
  const std::int64_t width = frame.width, height = frame.height;
  // swscale's SIMD writes whole groups of 8 to 32 pixels, and leaves the last columns of a row
  // unset when they do not fit its stride (seen with 340 pixels in 1024 bytes).
  const std::int64_t stride = ((width + 31) / 32 * 32 * 3 + 63) / 64 * 64;
  rgb_.reserve(static_cast<std::size_t>(stride * height + 64));
  if (has_fields(frame)) {
    // Each has chroma of its own: FFmpeg 8, which PyAV 18 bundles, converts them apart.
    for (const int parity : {0, 1}) {
      point_at_field(frame, parity);
      scale(*field_, rgb_.data() + parity * stride, 2 * stride);
    }
  } else {
    scale(frame, rgb_.data(), stride);
  }
  if (!orientation_.identity()) return turn(width, height, stride);
  return {rgb_.data(), {height, width, 3}, {stride, 3, 1}};
}

void RgbConverter::make_scaler(const Input& input) {
  const auto format = static_cast<AVPixelFormat>(input.format);
  // PyAV's flags (VideoReformatter: SWS_BILINEAR).
  scaler_.reset(sws_getContext(input.width, input.height, format, input.width, input.height,
                               AV_PIX_FMT_RGB24, SWS_BILINEAR, nullptr, nullptr, nullptr));
  if (!scaler_) {
    const char* pixel_format = av_get_pix_fmt_name(format);
    throw_error(ErrorCode::kUnsupported, "{}: no conversion from pixel format {} to RGB", name_,
                pixel_format != nullptr ? pixel_format : "?");
  }
  // PyAV passes the frame's own matrix and range on; an unspecified matrix is BT.601 whatever the
  // size, an unspecified range limited. Transfer and primaries are not converted (HDR stays as
  // coded).
  const int* matrix = sws_getCoefficients(input.matrix);
  const int full = input.range == AVCOL_RANGE_JPEG ? 1 : 0;
  sws_setColorspaceDetails(scaler_.get(), matrix, full, matrix, 1, 0, 1 << 16, 1 << 16);
  input_ = input;
}

void RgbConverter::point_at_field(const AVFrame& frame, int parity) {
  if (!field_) field_ = make_frame();
  field_->width = frame.width;
  field_->height = (frame.height + 1 - parity) / 2;
  field_->format = frame.format;
  field_->color_range = frame.color_range;
  field_->colorspace = frame.colorspace;
  field_->chroma_location = frame.chroma_location;
  for (int i = 0; i < 4; ++i) {
    field_->linesize[i] = 2 * frame.linesize[i];
    field_->data[i] = frame.data[i] + parity * frame.linesize[i];
  }
}

void RgbConverter::scale(const AVFrame& frame, std::uint8_t* rgb, std::int64_t stride) {
  const std::uint8_t* from[4] = {frame.data[0], frame.data[1], frame.data[2], frame.data[3]};
  int from_strides[4] = {frame.linesize[0], frame.linesize[1], frame.linesize[2],
                         frame.linesize[3]};
  Input input{frame.width, frame.height, frame.format, frame.color_range, frame.colorspace};
  if (ChromaRaiser::applies(frame)) {
    raiser_.raise(frame, from, from_strides);
    input.format = AV_PIX_FMT_YUV422P16LE;
    // What the "full range" 8-bit formats say by their name.
    if (frame.format == AV_PIX_FMT_YUVJ420P) input.range = AVCOL_RANGE_JPEG;
  }
  if (!scaler_ || input != input_) make_scaler(input);
  std::uint8_t* to[4] = {rgb, nullptr, nullptr, nullptr};
  const int strides[4] = {static_cast<int>(stride), 0, 0, 0};
  sws_scale(scaler_.get(), from, from_strides, 0, frame.height, to, strides);
}

TensorView<const std::uint8_t> RgbConverter::turn(std::int64_t width, std::int64_t height,
                                                  std::int64_t stride) {
  const Orientation& o = orientation_;
  const std::int64_t out_width = o.swaps_sides() ? height : width;
  const std::int64_t out_height = o.swaps_sides() ? width : height;
  turned_.reserve(static_cast<std::size_t>(out_width * out_height * 3));
  // The matrix is orthogonal, so its transpose leads back: source = (a*x + b*y, c*x + d*y), moved
  // into the picture where it is negative.
  const std::int64_t x0 = o.a + o.b < 0 ? width - 1 : 0;
  const std::int64_t y0 = o.c + o.d < 0 ? height - 1 : 0;
  const std::int64_t step_x = o.a * 3 + o.c * stride;  // of the source, for one pixel to the right
  const std::int64_t step_y = o.b * 3 + o.d * stride;
  const std::uint8_t* origin = rgb_.data() + y0 * stride + x0 * 3;
  std::uint8_t* out = turned_.data();
  constexpr std::int64_t kTile = 32;  // a quarter turn walks columns: 32 lines stay in the L1 cache
  parallel_for((out_height + kTile - 1) / kTile, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t ty = begin * kTile; ty < std::min(end * kTile, out_height); ty += kTile) {
      for (std::int64_t tx = 0; tx < out_width; tx += kTile) {
        for (std::int64_t y = ty; y < std::min(ty + kTile, out_height); ++y) {
          const std::uint8_t* in = origin + tx * step_x + y * step_y;
          std::uint8_t* to = out + (y * out_width + tx) * 3;
          for (std::int64_t x = tx; x < std::min(tx + kTile, out_width); ++x) {
            to[0] = in[0];
            to[1] = in[1];
            to[2] = in[2];
            to += 3;
            in += step_x;
          }
        }
      }
    }
  });
  return {turned_.data(), {out_height, out_width, 3}};
}

}  // namespace reelm::preprocess
