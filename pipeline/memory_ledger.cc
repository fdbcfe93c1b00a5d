#include "pipeline/memory_ledger.h"

#include <algorithm>
#include <utility>

namespace reelm::pipeline {

// Both bounds are from above: what was promised may not be taken yet, and others than us may have
// taken memory since.
std::int64_t MemoryLedger::left_now() const noexcept {
  const std::int64_t now = available_();
  const std::int64_t unpromised = at_first_ - promised_;
  return now > 0 ? std::min(now, unpromised) : unpromised;
}

std::optional<MemoryLedger::Promise> MemoryLedger::promise(std::int64_t bytes, std::int64_t& left) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (promised_ == 0) at_first_ = available_();
  if (at_first_ > 0) {
    left = left_now();
    if (bytes > left) return std::nullopt;
  }
  promised_ += bytes;
  return Promise(*this, bytes);
}

MemoryLedger::Promise::Promise(Promise&& other) noexcept
    : ledger_(std::exchange(other.ledger_, nullptr)), bytes_(other.bytes_) {}

MemoryLedger::Promise::~Promise() {
  if (ledger_ == nullptr) return;
  const std::lock_guard<std::mutex> lock(ledger_->mutex_);
  ledger_->promised_ -= bytes_;
}

}  // namespace reelm::pipeline
