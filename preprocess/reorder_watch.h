// Whether pictures are stored in another order than they are shown. Not installed.
#pragma once

#include <cstdint>
#include <memory>

#include "preprocess/ffmpeg.h"

namespace reelm::preprocess {

/// Reads the numbers that H.264, HEVC and MPEG-4 pictures carry themselves, for containers whose
/// times say nothing: a decoding time that stands for a display time. Stops at the first packet
/// where the two differ, which is the first of all in a healthy file, so watching costs nothing
/// there.
class ReorderWatch {
 public:
  explicit ReorderWatch(const AVCodecParameters& parameters);

  /// The next packet, in the order they are stored.
  void look(const AVPacket& packet);

  /// The times of all packets so far are decoding times, and the pictures say that they are shown
  /// in another order.
  bool times_lie() const noexcept { return reordered_ && watching_; }

 private:
  struct ParserDeleter {
    void operator()(AVCodecParserContext* p) const noexcept { av_parser_close(p); }
  };
  CodecPtr codec_;
  std::unique_ptr<AVCodecParserContext, ParserDeleter> parser_;
  bool watching_ = false;
  bool reordered_ = false;
  int last_number_ = INT32_MIN;
};

}  // namespace reelm::preprocess
