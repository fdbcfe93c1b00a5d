// What an operation with candidates shares with the tuner. Not installed.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "tuner.h"

namespace reelm::kernels {

/// The candidate that force_candidate() chose, or -1.
int forced_candidate(TunedOp op) noexcept;

/// A size rounded up to a power of two between `least` and `most`, both powers of two: so that a
/// growing context is not a new shape at every step.
inline std::int32_t size_class(std::int64_t n, std::int64_t least, std::int64_t most) {
  const auto clamped = static_cast<std::uint64_t>(std::clamp(n, least, most));
  return static_cast<std::int32_t>(std::bit_ceil(clamped));
}

/// Names of the candidates, each told by its operation's file.
std::span<const char* const> attention_candidate_names() noexcept;
std::span<const char* const> matmul_candidate_names() noexcept;

}  // namespace reelm::kernels
