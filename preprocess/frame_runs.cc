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

}  // namespace

std::vector<FrameRun> plan_runs(const PacketTable& table, std::span<const std::int64_t> wanted,
                                bool may_seek) {
  std::vector<FrameRun> runs;
  for (const std::int64_t rank : wanted) {
    const std::int64_t position = table.position[static_cast<std::size_t>(rank)];
    // key_before walks back at most to the end of the run before: linear in all.
    const std::int64_t key = may_seek ? key_before(table, position) : 0;
    if (runs.empty() || key > runs.back().end + kWorthSkipping) {
      runs.push_back({key, position, rank, rank});
    } else {
      runs.back().end = std::max(runs.back().end, position);
      runs.back().last = rank;
    }
  }
  if (table.counted && !runs.empty()) {  // frames are counted as they come: all of them
    runs.back().end = static_cast<std::int64_t>(table.packets.size()) - 1;
  }
  return runs;
}

}  // namespace reelm::preprocess
