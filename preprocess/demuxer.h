// A container opened by FFmpeg over a ByteSource, with limits on it. Not installed.
#pragma once

#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "core/cancel.h"
#include "core/limits.h"
#include "preprocess/byte_source.h"
#include "preprocess/ffmpeg.h"

namespace reelm::preprocess {

/// How frames must be turned before they are shown: a display matrix rounded to quarter turns.
/// (x, y) goes to (a*x + c*y, b*x + d*y), y pointing down.
struct Orientation {
  int a = 1, b = 0, c = 0, d = 1;
  bool identity() const noexcept { return a == 1 && d == 1; }
  bool swaps_sides() const noexcept { return a == 0; }
  /// Degrees clockwise, after mirroring left to right when `flipped`.
  int rotation() const noexcept;
  bool flipped() const noexcept { return a * d - b * c < 0; }
};

class Demuxer {
 public:
  /// Recognises the format by content alone, opens it and finds the streams' parameters. `bytes`
  /// outlives the demuxer; `name` is for errors.
  /// Throws Error as the constructor of Media.
  Demuxer(ByteSource& bytes, std::string name, const Limits& limits, const CancelToken* cancel);
  ~Demuxer();
  Demuxer(const Demuxer&) = delete;
  Demuxer& operator=(const Demuxer&) = delete;

  AVFormatContext* context() const noexcept { return context_; }
  AVStream* video() const noexcept { return context_->streams[video_stream_]; }
  int video_stream() const noexcept { return video_stream_; }
  Orientation orientation() const noexcept { return orientation_; }
  const std::string& name() const noexcept { return name_; }

  /// Who may end the calls below; replaces what the constructor was given.
  void set_cancel(const CancelToken* cancel) noexcept { io_.cancel = cancel; }

  enum class Read { kPacket, kDamaged, kEnd };
  /// The next packet of the video stream. kDamaged: bytes that are no packet; try again.
  /// Throws Error: kIo, kCancelled.
  Read read(AVPacket* packet);

  /// Moves near the packet with decoding time `timestamp` (stream time base), before it. False when
  /// the container cannot.
  bool seek(std::int64_t timestamp);

  /// Back to the first packet, by opening the container again: the one way that is exact
  /// everywhere.
  void reopen();

 private:
  struct Io {
    ByteSource* bytes = nullptr;
    std::int64_t position = 0;
    const CancelToken* cancel = nullptr;
    std::optional<std::chrono::steady_clock::time_point> deadline;
    std::int64_t most = 0;       // bytes that may still be read while there is a deadline
    std::exception_ptr failure;  // C code is between the thrower and the catcher
    bool late = false;           // the deadline passed
    bool greedy = false;         // more than `most` was read
  };
  static int interrupted(void* opaque);
  static int read_bytes(void* opaque, std::uint8_t* to, int n);
  static std::int64_t seek_bytes(void* opaque, std::int64_t offset, int whence);

  void open();
  void close() noexcept;
  const AVInputFormat* probe_format();
  void find_streams();
  int choose_video() const;
  void check_video() const;
  /// Throws what ended FFmpeg's last call: a failed read, cancelling, a limit, no memory (`result`
  /// is what the call returned).
  void rethrow_failure(int result);

  Io io_;
  std::string name_;
  Limits limits_;
  AVIOContext* avio_ = nullptr;
  AVFormatContext* context_ = nullptr;
  int video_stream_ = -1;
  Orientation orientation_;
};

}  // namespace reelm::preprocess
