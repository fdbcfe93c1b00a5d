// Decoded frames to upright RGB8. Not installed.
#pragma once

#include <cstdint>
#include <string>

#include "core/aligned_buffer.h"
#include "core/tensor_view.h"
#include "preprocess/chroma.h"
#include "preprocess/demuxer.h"
#include "preprocess/ffmpeg.h"

namespace reelm::preprocess {

/// Turns frames of any pixel format into the bytes of PyAV's `frame.to_ndarray(format="rgb24")`,
/// and then into the orientation they are shown in. One object per stream; sizes may change.
class RgbConverter {
 public:
  RgbConverter(Orientation orientation, std::string name)
      : orientation_(orientation), name_(std::move(name)) {}

  /// [height, width, 3]; rows may be padded (stride(0)). Valid until the next call.
  /// Throws Error{kUnsupported} naming the pixel format.
  TensorView<const std::uint8_t> convert(const AVFrame& frame);

 private:
  /// What a scaler is made for.
  struct Input {
    int width = 0, height = 0, format = -1, range = -1, matrix = -1;
    friend bool operator==(const Input&, const Input&) = default;
  };
  void make_scaler(const Input& input);
  /// Makes `field_` every second row of `frame`, from row `parity`.
  void point_at_field(const AVFrame& frame, int parity);
  /// To `rgb`, rows of `stride` bytes.
  void scale(const AVFrame& frame, std::uint8_t* rgb, std::int64_t stride);
  TensorView<const std::uint8_t> turn(std::int64_t width, std::int64_t height, std::int64_t stride);

  Orientation orientation_;
  std::string name_;
  ScalerPtr scaler_;
  Input input_;
  FramePtr field_;  // a view, of interlaced frames
  ChromaRaiser raiser_;
  AlignedBuffer<std::uint8_t> rgb_;
  AlignedBuffer<std::uint8_t> turned_;
};

}  // namespace reelm::preprocess
