// Allocations, reads and writes that fail on demand. A program that links fault_injection.cc has
// its malloc, pread, read, write, fsync and rename in front of libc's, for itself and the shared
// libraries it uses.
#pragma once

#include <cstddef>

namespace reelm::testing {

enum class Fault { kAllocation, kRead, kWrite, kSync, kRename };

/// Counts calls while it lives, in all threads, and lets the `nth` (from 1; 0: none) fail; with
/// `all_after`, those behind it too. One at a time. Some memory is always given, because the
/// library that asks ends the process without: what libgomp and libomp take for its teams; FFmpeg's
/// AVBufferRef (24 bytes), without which the H.264 decoder of FFmpeg 5.1 fails an assertion while
/// it cleans up; and, with `all_after`, all that FFmpeg takes, as several failures at once lead it
/// there too.
class FailingCalls {
 public:
  /// Allocations of fewer than `least` bytes are neither counted nor refused.
  explicit FailingCalls(Fault fault, long nth = 0, bool all_after = false, std::size_t least = 0);
  ~FailingCalls() { stop(); }
  FailingCalls(const FailingCalls&) = delete;
  FailingCalls& operator=(const FailingCalls&) = delete;

  /// Nothing fails any more; how many calls there were.
  long stop();
  /// Whether an allocation of FFmpeg's own was refused since the last FailingCalls began.
  static bool in_ffmpeg();
};

/// No read gives more than `most` bytes while it lives.
class ShortReads {
 public:
  explicit ShortReads(unsigned long most);
  ~ShortReads();
  ShortReads(const ShortReads&) = delete;
  ShortReads& operator=(const ShortReads&) = delete;
};

}  // namespace reelm::testing
