// The clock of the benchmarks.
#pragma once

#include <chrono>

namespace reelm::bench {

using Clock = std::chrono::steady_clock;

/// Milliseconds.
inline double ms_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
}

}  // namespace reelm::bench
