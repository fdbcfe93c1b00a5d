// The largest resident memory of this process.
#pragma once

#include <cstdint>

namespace reelm::bench {

/// Forgets the peak so far. Where the kernel does not offer that, the peak is of the whole run.
void reset_peak_memory();
/// Bytes since then.
std::int64_t peak_memory_bytes();

}  // namespace reelm::bench
