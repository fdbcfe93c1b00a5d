#include "core/leftovers.h"

#include <unistd.h>

#include <atomic>
#include <cstring>

namespace reelm {

namespace {
constexpr std::size_t kMaxPath = 4096;
constexpr int kFree = 0, kBeingWritten = 1, kNoted = 2;
}  // namespace

// No memory is given back or allocated: a signal may come at any moment, in any thread.
struct Leftover::Slot {
  std::atomic<int> state{kFree};
  char path[kMaxPath];
};

Leftover::Slot Leftover::slots[64];

Leftover::Leftover(const std::filesystem::path& path) noexcept {
  const auto& name = path.native();
  if (name.size() >= kMaxPath) return;
  for (Slot& slot : slots) {
    int expected = kFree;
    if (!slot.state.compare_exchange_strong(expected, kBeingWritten)) continue;
    std::memcpy(slot.path, name.c_str(), name.size() + 1);
    slot.state = kNoted;
    slot_ = &slot;
    return;
  }
}

void Leftover::forget() noexcept {
  if (slot_ != nullptr) slot_->state = kFree;
  slot_ = nullptr;
}

void Leftover::remove_all() noexcept {
  for (const Slot& slot : slots) {
    if (slot.state == kNoted) ::unlink(slot.path);  // of a directory: refused
  }
  for (const Slot& slot : slots) {
    if (slot.state == kNoted) ::rmdir(slot.path);
  }
}

}  // namespace reelm
