// PNG and WebP files that hold a video: which they are, and the frames of a WebP. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/tensor_view.h"
#include "preprocess/byte_source.h"
#include "preprocess/sampling.h"

namespace reelm::preprocess {

/// Whether a PNG announces two or more pictures (APNG). FFmpeg reads those.
bool is_animated_png(ByteSource& bytes);

/// Ticks of a second in WebP.
constexpr std::int64_t kWebpTicks = 1000;

/// When the frames of an animated WebP are shown.
struct WebpTimes {
  std::vector<std::int64_t> begin;  ///< ticks, from 0
  std::int64_t end = 0;             ///< ticks; of the last frame
  bool truncated = false;           ///< the file is shorter than its header says
  std::string loss;                 ///< a warning: frames at the end are lost; empty: none
};

/// Times of a WebP's frames; a still has one. `bytes` is the whole file; where it is truncated or
/// its chunks are damaged, it is cut behind the last frame that is whole, and `loss` says so.
/// Throws Error{kFormat} when no frame is whole.
WebpTimes read_webp_times(std::vector<std::byte>& bytes, const std::string& name);

/// Decodes the frames of an animated WebP one after the other, as Pillow does: each blended into
/// the canvas; where it is transparent, over white (kQwenVlUtils) or with alpha dropped (kHf), as
/// stills are.
class WebpAnimation {
 public:
  /// `bytes` outlive the object. Throws Error: kFormat, kOutOfMemory.
  WebpAnimation(std::span<const std::byte> bytes, std::string name, Reference reference);
  ~WebpAnimation();
  WebpAnimation(const WebpAnimation&) = delete;
  WebpAnimation& operator=(const WebpAnimation&) = delete;

  /// Draws the next frame upon the ones before, if it is one of good_frames(). One that is broken
  /// ends those, and the next call begins again with the first frame. Throws Error{kFormat} when
  /// that is the first.
  void decode_next();
  /// Frames drawn since the first one.
  std::int64_t frames_decoded() const noexcept { return decoded_; }
  /// Frames before the first one that is known to be broken: at first, all.
  std::int64_t good_frames() const noexcept { return good_; }
  /// The frame decoded last, [height, width, 3]; valid until the next call of either function.
  TensorView<const std::uint8_t> pixels();

 private:
  struct Decoder;
  std::unique_ptr<Decoder> decoder_;
  std::string name_;
  bool on_white_ = false;
  std::int64_t decoded_ = 0;
  std::int64_t good_ = 0;
  AlignedBuffer<std::uint8_t> rgb_;
};

}  // namespace reelm::preprocess
