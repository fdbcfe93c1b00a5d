// A cancel flag and a deadline that reach every stage.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

#include "error.h"

namespace reelm {

/// Shared by the caller (who cancels) and the stages (who poll). Thread- and signal-safe to cancel.
class CancelToken {
 public:
  using Clock = std::chrono::steady_clock;

  CancelToken() = default;
  /// Also stopped whenever `parent` (may be null; outlives this) is: for a part of the work that
  /// can end before the whole.
  explicit CancelToken(const CancelToken* parent) noexcept : parent_(parent) {}

  /// Ends the work at the next poll. Safe in a signal handler.
  void cancel() noexcept { cancelled_.store(true, std::memory_order_relaxed); }
  /// Work polled after this moment ends. Set before the work starts.
  void set_deadline(Clock::time_point deadline) { deadline_ = deadline; }
  /// Makes the token usable again, its parent untouched. Not while work that polls it is running.
  void reset() {
    cancelled_.store(false, std::memory_order_relaxed);
    deadline_.reset();
  }

  bool stopped() const noexcept {
    return (parent_ != nullptr && parent_->stopped()) ||
           cancelled_.load(std::memory_order_relaxed) || (deadline_ && Clock::now() >= *deadline_);
  }
  /// Throws Error{kCancelled} when cancelled or past the deadline.
  void check() const {
    if (parent_ != nullptr) parent_->check();
    if (cancelled_.load(std::memory_order_relaxed)) throw Error(ErrorCode::kCancelled, "cancelled");
    if (deadline_ && Clock::now() >= *deadline_) {
      throw Error(ErrorCode::kCancelled, "the deadline has passed");
    }
  }

 private:
  const CancelToken* parent_ = nullptr;
  std::atomic<bool> cancelled_{false};
  std::optional<Clock::time_point> deadline_;
};

}  // namespace reelm
