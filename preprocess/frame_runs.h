// Which packets must be decoded to get the frames that are wanted. Not installed.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "preprocess/media_impl.h"

namespace reelm::preprocess {

/// Packets [start, end] in decoding order, from a key frame to the last one that is needed.
struct FrameRun {
  std::int64_t start = 0;
  std::int64_t end = 0;
  std::int64_t first = 0;  ///< frame numbers wanted from it
  std::int64_t last = 0;
  std::int64_t earliest = 0;  ///< where the decoder can start at all: 0 or one of table.restarts
  /// Packets up to here may be decoded for what is wanted to come out without draining the decoder.
  std::int64_t stop = 0;
};

/// Splits the wanted frames (rising) where skipping packets is cheaper than decoding them, and at
/// table.restarts.
std::vector<FrameRun> plan_runs(const PacketTable& table, std::span<const std::int64_t> wanted,
                                bool may_seek);

}  // namespace reelm::preprocess
