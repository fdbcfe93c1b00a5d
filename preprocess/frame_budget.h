// Bytes of decoded frames that are alive, held to a limit. Not installed.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>

#include "core/limits.h"
#include "preprocess/ffmpeg.h"
#include "preprocess/media.h"

namespace reelm::preprocess {

/// Counts every frame that one decoder allocates, whoever holds it: its threads, its references,
/// its caller. A frame over the limit is refused before it is allocated. Decoders that bring memory
/// of their own are bounded by threads() alone.
class FrameBudget {
 public:
  /// `name` is for errors.
  FrameBudget(const Limits& limits, std::string name);

  /// How many of `threads` frame threads the limit has room for, each of which holds a frame.
  /// Throws Error{kLimit} naming decoded-bytes when it has not even for one frame.
  int threads(const AVCodecParameters& parameters, int threads) const;

  /// Bytes of frames that decoding the stream in so many threads holds at most, for planning.
  static std::int64_t most(const Limits& limits, const StreamInfo& stream, int threads);

  /// Makes the decoder count its frames here; before it is opened. Frames may outlive both.
  void attach(AVCodecContext& codec);

  /// Throws Error{kLimit} naming decoded-bytes when a frame was refused.
  void check() const;

 private:
  struct Shared : std::enable_shared_from_this<Shared> {
    std::int64_t limit = 0;
    std::atomic<std::int64_t> alive{0};
    std::atomic<bool> refused{false};
  };
  struct Counted;
  static int get_buffer(AVCodecContext* codec, AVFrame* frame, int flags);
  /// Notes that the frame lives, until its last reference goes; false: no memory for the note.
  static bool count(Shared& shared, AVFrame& frame, std::int64_t bytes);
  static void release(void* counted, std::uint8_t* data);
  [[noreturn]] void fail(std::int64_t frame_bytes) const;

  std::string name_;
  std::shared_ptr<Shared> shared_;
};

}  // namespace reelm::preprocess
