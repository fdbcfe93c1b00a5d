// What this machine can do at best, measured: the figures that stages are compared with.
#pragma once

#include <string>

namespace reelm::bench {

/// A rate and the loop that reached it.
struct Ceiling {
  double rate = 0.0;  ///< 1e9 operations or bytes a second, all threads together
  std::string loop;
};

struct Ceilings {
  Ceiling bf16;  ///< GFLOP/s of bf16 products; those of f32 where there is no bf16 dot product
  Ceiling int8;  ///< 1e9 operations a second
  Ceiling f32;   ///< GFLOP/s
  Ceiling read;  ///< GB/s of a streaming read
  bool native_bf16 = false;
};

/// Measures with num_threads() threads and the best instruction set of the machine, whatever
/// REELM_ISA says. Takes about two seconds and `read_bytes` of memory. Several tries, the best one
/// counts: a ceiling is what the machine can do, not what its neighbours left.
/// `try_ms`: length of one try. Throws Error{kOutOfMemory}.
Ceilings measure_ceilings(double try_ms, long long read_bytes);

/// The higher of each.
Ceilings best_of(const Ceilings& a, const Ceilings& b);

}  // namespace reelm::bench
