// Chosen frames as RGB at source size, one after the other.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/limits.h"
#include "../core/tensor_view.h"
#include "media.h"
#include "sampling.h"

namespace reelm::preprocess {

/// Milliseconds of wall time spent in each stage so far.
struct StageTimes {
  double open = 0;  ///< opening the source and the decoder
  double scan = 0;  ///< the pass over the packets
  double seek = 0;
  double decode = 0;   ///< reading packets and waiting for frames
  double convert = 0;  ///< to RGB, rotation
  double resize = 0;
  double patchify = 0;
};

/// One frame, shown upright. Its size is its own: it may change within a video.
struct RgbFrame {
  TensorView<const std::uint8_t>
      pixels;              ///< [height, width, 3], RGB; rows may be padded (stride(0))
  std::int64_t index = 0;  ///< number asked for
  double pts = 0;          ///< true seconds on the stream's clock
};

/// Reads frames `indices` (not decreasing; repeats allowed) of a video, or frame 0 of an image.
/// Decodes forward with FFmpeg's frame threads, seeks when the gap to the next frame holds a key
/// frame, and converts only what was asked for. A frame that cannot be decoded is replaced by the
/// nearest decoded one before it (the next, when there is none) and reported by warnings().
class FrameReader {
 public:
  struct Options {
    bool allow_seek = true;  ///< false: decode everything from the start; for tests
    int threads = 0;         ///< decoder threads; 0: core/parallel.h's num_threads()
    Reference reference =
        Reference::kQwenVlUtils;  ///< whose way with alpha and EXIF; PNG, JPEG and WebP only
    /// Counted up with every frame that leaves the decoder; may be null, else outlives the reader.
    std::atomic<std::int64_t>* progress = nullptr;
  };

  /// `media` outlives the reader and is used by one reader at a time.
  /// Throws Error: kInvalidArgument (indices out of range or falling), kUnsupported (no decoder).
  FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits,
              const CancelToken* cancel, const Options& options);
  FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits = {},
              const CancelToken* cancel = nullptr);
  FrameReader(FrameReader&&) noexcept;
  FrameReader& operator=(FrameReader&&) noexcept;
  ~FrameReader();

  /// The next frame; false after the last. The view is valid until the next call.
  /// Throws Error: kFormat (nothing could be decoded at all), kLimit (frame_pixels,
  /// stall_seconds), kUnsupported, kCancelled.
  bool next(RgbFrame& frame);

  /// What went wrong so far, one line each; complete after the last frame.
  const std::vector<std::string>& warnings() const noexcept;
  const StageTimes& times() const noexcept;

  /// Frames that came out of the decoder so far, and seeks made; for tests and benchmarks.
  std::int64_t frames_decoded() const noexcept;
  std::int64_t seeks() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::preprocess
