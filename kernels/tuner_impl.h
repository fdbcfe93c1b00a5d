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

// Multiplications below which no choice is worth looking up: 0.1 ms and less.
inline constexpr std::int64_t kWorthTuning = 1 << 20;

/// The candidate for a call of `products` multiplications: the one that was forced, else what the
/// active tuner knows of key() or says after measure(tuner, key), else `rule`. can_run(i) says
/// which candidates can compute the call at all, may_choose(i) which of them unasked.
template <typename CanRun, typename MayChoose, typename Key, typename Measure>
int choose_candidate(TunedOp op, int rule, std::int64_t products, CanRun&& can_run,
                     MayChoose&& may_choose, Key&& key, Measure&& measure) {
  const int forced = forced_candidate(op);
  if (forced >= 0) return can_run(forced) ? forced : rule;
  Tuner* tuner = active_tuner();
  if (tuner == nullptr || tuner->idle()) return rule;
  if (products < kWorthTuning && !tuner->options().everything) return rule;
  const TuneKey asked = key();
  const TuneEntry* entry = tuner->find(asked);
  if (entry == nullptr && tuner->may_measure()) entry = measure(*tuner, asked);
  // A file may say anything.
  const bool usable = entry != nullptr && can_run(entry->choice) && may_choose(entry->choice);
  return usable ? entry->choice : rule;
}

/// Names of the candidates, each told by its operation's file.
std::span<const char* const> attention_candidate_names() noexcept;
std::span<const char* const> matmul_candidate_names() noexcept;

}  // namespace reelm::kernels
