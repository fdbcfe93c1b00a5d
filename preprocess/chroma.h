// 4:2:0 frames to 4:2:2 of 16 bits: the vertical half of chroma interpolation. Not installed.
#pragma once

#include <cstdint>

#include "core/aligned_buffer.h"
#include "preprocess/ffmpeg.h"

namespace reelm::preprocess {

/// swscale turns 4:2:0 into RGB by one of two paths: 8 bits and an even height by SIMD that repeats
/// chroma (the same bytes in every version); everything else by a general one, which up to
/// FFmpeg 7.0 blends two chroma rows only as 0, 1/2 or 1 where the weights are 1/4 and 3/4. FFmpeg
/// 8, which PyAV 18 bundles, blends them truly. For that path this does the blending here, in its
/// integers, and leaves swscale a frame with nothing to blend. Measured on synthetic and real
/// 10-bit and odd-sized frames: the same bytes as PyAV, up to 255 apart at colour edges without it.
class ChromaRaiser {
 public:
  /// Whether `frame` takes the general path.
  static bool applies(const AVFrame& frame);

  /// Planes of AV_PIX_FMT_YUV422P16LE, of the frame's size; valid until the next call.
  void raise(const AVFrame& frame, const std::uint8_t* planes[4], int strides[4]);

 private:
  AlignedBuffer<std::uint16_t> samples_;
};

}  // namespace reelm::preprocess
