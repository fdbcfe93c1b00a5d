// What ends a decoder that nobody needs or that is stuck. Not installed.
#pragma once

#include <atomic>
#include <cstdint>

namespace reelm::preprocess {

/// What a decoder exits with that was stuck for longer than its time limit, and then for the grace
/// that it has to notice that itself.
inline constexpr int kStalledExit = 3;
inline constexpr double kStallGraceSeconds = 2;

/// Ends the process when the other end of a socket is closed, or when what it does takes too long
/// without a sign of progress: a thread of its own, so no call of a decoder can hold that up.
class Watch {
 public:
  /// Starts the thread, which never ends: the object must live as long as the process.
  explicit Watch(int socket);

  /// From now on `seconds` (and the grace) may pass between two signs; 0: any time.
  void expect(double seconds);
  /// Counted up by whatever makes progress.
  std::atomic<std::int64_t>& signs() noexcept { return signs_; }

 private:
  [[noreturn]] void run(int socket);

  std::atomic<std::int64_t> signs_{0};
  std::atomic<double> seconds_{0};
};

}  // namespace reelm::preprocess
