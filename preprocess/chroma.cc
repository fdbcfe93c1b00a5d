#include "preprocess/chroma.h"

#include <algorithm>
#include <cmath>

#include "core/parallel.h"

namespace reelm::preprocess {
namespace {

/// Two chroma rows and the weight of the lower one, of 4096.
struct Blend {
  std::int64_t upper = 0;
  std::int64_t lower = 0;
  std::int32_t weight = 0;
};

/// How swscale's bilinear filter places row y (initFilter in libswscale/utils.c): positions in
/// units of 2^-17 chroma rows; `siting` is where chroma row 0 lies, in 1/128 luma rows.
Blend blend_of(std::int64_t y, std::int64_t height, std::int64_t chroma_height,
               std::int64_t siting) {
  const std::int64_t step = ((chroma_height << 16) + (height >> 1)) / height;
  const std::int64_t source = (siting + 128) >> 1;
  const std::int64_t position = ((128 * step) >> 7) - ((source * 0x10000) >> 7) + 2 * step * y;
  const std::int64_t row = position >> 17;  // floor, also below zero
  const std::int64_t fraction = position - (row << 17);
  Blend blend;
  blend.weight = 4096 - static_cast<std::int32_t>(((131072 - fraction) * 4096 + 65536) >> 17);
  blend.upper = std::clamp<std::int64_t>(row, 0, chroma_height - 1);
  blend.lower = std::clamp<std::int64_t>(row + 1, 0, chroma_height - 1);
  return blend;
}

/// Where chroma lies in the 2x2 luma samples it covers, in 1/128 of one; swscale's default is the
/// middle.
struct Siting {
  std::int64_t x = 128;
  std::int64_t y = 128;
};

Siting siting_of(AVChromaLocation location) {
  switch (location) {
    case AVCHROMA_LOC_LEFT:
      return {0, 128};
    case AVCHROMA_LOC_TOPLEFT:
      return {0, 0};
    case AVCHROMA_LOC_TOP:
      return {128, 0};
    case AVCHROMA_LOC_BOTTOMLEFT:
      return {0, 256};
    case AVCHROMA_LOC_BOTTOM:
      return {128, 256};
    default:
      return {};
  }
}

template <typename Sample>
void shift_row(const Sample* in, std::int64_t n, int shift, std::uint16_t* out) {
  for (std::int64_t i = 0; i < n; ++i) out[i] = static_cast<std::uint16_t>(in[i] << shift);
}

void luma_to_16(const std::uint8_t* row, std::int64_t n, int depth, std::uint16_t* out) {
  if (depth == 8) return shift_row(row, n, 8, out);
  shift_row(reinterpret_cast<const std::uint16_t*>(row), n, 16 - depth, out);
}

/// One row of `n` samples as 15 bits, 8-bit samples or 16-bit ones of `depth` bits. With `left`
/// each moves a quarter sample to the right, to the middle of the two pixels that share it.
void row_to_15(const std::uint8_t* row, std::int64_t n, int depth, bool left, std::int32_t* out) {
  const auto* wide = reinterpret_cast<const std::uint16_t*>(row);
  const auto sample = [&](std::int64_t i) -> std::int32_t { return depth == 8 ? row[i] : wide[i]; };
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int32_t here = sample(i);
    const std::int32_t next = left ? sample(std::min(i + 1, n - 1)) : here;
    out[i] = std::min((here * 12288 + next * 4096) >> (depth - 1), 32767);
  }
}

}  // namespace

bool ChromaRaiser::applies(const AVFrame& frame) {
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(format);
  if (d == nullptr || d->nb_components != 3 || d->log2_chroma_w != 1 || d->log2_chroma_h != 1) {
    return false;
  }
  if ((d->flags & (AV_PIX_FMT_FLAG_RGB | AV_PIX_FMT_FLAG_BE | AV_PIX_FMT_FLAG_HWACCEL)) != 0 ||
      (d->flags & AV_PIX_FMT_FLAG_PLANAR) == 0 || av_pix_fmt_count_planes(format) != 3) {
    return false;
  }
  const int depth = d->comp[0].depth;
  if (d->comp[0].shift != 0 || depth > 14) return false;
  return depth > 8 || frame.height % 2 != 0;
}

void ChromaRaiser::raise(const AVFrame& frame, const std::uint8_t* planes[4], int strides[4]) {
  const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(static_cast<AVPixelFormat>(frame.format));
  const int depth = d->comp[0].depth;
  const std::int64_t width = frame.width, height = frame.height;
  const std::int64_t chroma_width = (width + 1) / 2, chroma_height = (height + 1) / 2;
  const std::int64_t luma_stride = (width + 31) / 32 * 32;
  const std::int64_t chroma_stride = (chroma_width + 31) / 32 * 32;
  samples_.reserve(static_cast<std::size_t>((luma_stride + 2 * chroma_stride) * height));
  std::uint16_t* to[3] = {samples_.data(), samples_.data() + luma_stride * height,
                          samples_.data() + (luma_stride + chroma_stride) * height};
  const Siting siting = siting_of(frame.chroma_location);
  // An odd width makes swscale interpolate horizontally at full resolution: the position is left to
  // it.
  const bool left = siting.x == 0 && width % 2 == 0;
  AlignedBuffer<std::int32_t> rows(static_cast<std::size_t>(4 * chroma_width));
  std::int64_t held[2] = {-1, -1};  // chroma rows in `rows`, by parity: [2 rows, 2 planes]
  const auto hold = [&](std::int64_t row) {
    std::int32_t* out = rows.data() + (row & 1) * 2 * chroma_width;
    if (held[row & 1] != row) {
      for (int p = 1; p < 3; ++p) {
        row_to_15(frame.data[p] + row * frame.linesize[p], chroma_width, depth, left,
                  out + (p - 1) * chroma_width);
      }
      held[row & 1] = row;
    }
    return out;
  };
  for (std::int64_t y = 0; y < height; ++y) {
    luma_to_16(frame.data[0] + y * frame.linesize[0], width, depth, to[0] + y * luma_stride);
    const Blend blend = blend_of(y, height, chroma_height, siting.y);
    const std::int32_t* upper = hold(blend.upper);
    const std::int32_t* lower = hold(blend.lower);
    for (int p = 0; p < 2; ++p) {
      std::uint16_t* out = to[1 + p] + y * chroma_stride;
      for (std::int64_t x = 0; x < chroma_width; ++x) {
        const std::int64_t i = p * chroma_width + x;
        // 15 bits times 4096, of which swscale keeps 15 bits again: rounding down here and rounding
        // to 8 bits there is the one rounding that FFmpeg 8 does.
        const std::int32_t sum = upper[i] * (4096 - blend.weight) + lower[i] * blend.weight;
        out[x] = static_cast<std::uint16_t>(sum >> 11);
      }
    }
  }
  for (int p = 0; p < 3; ++p) {
    planes[p] = reinterpret_cast<const std::uint8_t*>(to[p]);
    strides[p] = static_cast<int>((p == 0 ? luma_stride : chroma_stride) * 2);
  }
  planes[3] = nullptr;
  strides[3] = 0;
}

}  // namespace reelm::preprocess
