#include "preprocess/frame_runs.h"

#include <algorithm>

namespace reelm::preprocess {
namespace {

// Packets that must be skipped for a seek to pay: draining and refilling the decoder's pipeline
// costs about as much as decoding its depth in frames (threads + reordering).
constexpr std::int64_t kWorthSkipping = 16;

/// The last key packet from which the frame of packet `position` decodes: stored no later and shown
/// no later (pictures that lead a key frame refer to the group before it).
std::int64_t key_before(const PacketTable& table, std::int64_t position) {
  const auto at = [&](std::int64_t i) -> const PacketEntry& {
    return table.packets[static_cast<std::size_t>(i)];
  };
  const std::int64_t pts = at(position).pts;
  for (std::int64_t i = position; i > 0; --i) {
    if (at(i).key && at(i).pts <= pts) return i;
  }
  return 0;
}

// Frames that a decoder may hold back: 16 for their order, one a thread.
constexpr std::int64_t kMostHeld = 16 + 64;

/// Whether pictures lead the key packet `key`. Those refer to the group before it, and a decoder
/// that starts here cannot give them.
bool has_leading(const PacketTable& table, std::int64_t key) {
  const auto n = static_cast<std::int64_t>(table.packets.size());
  const std::int32_t rank = table.packets[static_cast<std::size_t>(key)].rank;
  for (std::int64_t i = key + 1; i < n; ++i) {
    const PacketEntry& p = table.packets[static_cast<std::size_t>(i)];
    if (p.rank >= 0) return p.rank < rank;
  }
  return false;
}

/// FFmpeg's H.264 decoder takes the first picture that it cannot give for the end when it is
/// drained, and withholds those behind it: where a run starts with such pictures, packets behind
/// its end push its frames out instead.
void allow_pushing(const PacketTable& table, std::vector<FrameRun>& runs) {
  const std::vector<std::int32_t>& restarts = table.restarts;
  for (FrameRun& run : runs) {
    run.stop = run.end;
    if (!has_leading(table, run.start)) continue;
    const auto next = std::upper_bound(restarts.begin(), restarts.end(), run.end);
    const auto behind = next == restarts.end() ? std::ssize(table.packets) : std::ptrdiff_t{*next};
    run.stop = std::min<std::int64_t>(run.end + kMostHeld, behind - 1);
  }
}

}  // namespace

std::vector<FrameRun> plan_runs(const PacketTable& table, std::span<const std::int64_t> wanted,
                                bool may_seek) {
  std::vector<FrameRun> runs;
  const std::vector<std::int32_t>& restarts = table.restarts;
  for (const std::int64_t rank : wanted) {
    const std::int64_t position = table.position[static_cast<std::size_t>(rank)];
    const auto next = std::upper_bound(restarts.begin(), restarts.end(), position);
    const std::int64_t earliest = next == restarts.begin() ? 0 : *(next - 1);
    // key_before walks back at most to the end of the run before: linear in all.
    const std::int64_t key = may_seek ? key_before(table, position) : earliest;
    if (runs.empty() || earliest > runs.back().earliest || key > runs.back().end + kWorthSkipping) {
      runs.push_back({key, position, rank, rank, earliest, position});
    } else {
      runs.back().end = std::max(runs.back().end, position);
      runs.back().last = rank;
    }
  }
  if (table.counted && !runs.empty()) {  // frames are counted as they come: all of them
    runs.back().end = static_cast<std::int64_t>(table.packets.size()) - 1;
  }
  allow_pushing(table, runs);
  return runs;
}

}  // namespace reelm::preprocess
