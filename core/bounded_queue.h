// A queue of at most so many items between two threads.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <utility>

#include "cancel.h"

namespace reelm {

/// First in, first out; push waits for room, pop for an item. Whoever waits looks at its
/// CancelToken every 50 ms: a signal handler may set one, but must not wake a condition variable.
template <typename T>
class BoundedQueue {
 public:
  /// Room for `capacity` items, 1 or more.
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) { REELM_CHECK(capacity > 0); }
  BoundedQueue(const BoundedQueue&) = delete;
  BoundedQueue& operator=(const BoundedQueue&) = delete;

  /// Appends `value` once there is room. False, with `value` dropped, when the queue is closed.
  /// Throws Error{kCancelled} when `cancel` (may be null) stops the wait.
  bool push(T value, const CancelToken* cancel = nullptr) {
    std::unique_lock<std::mutex> lock(mutex_);
    wait(lock, cancel, [&] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(value));
    changed_.notify_all();
    return true;
  }

  /// Takes the oldest item once there is one. A closed queue first gives what it still holds, then
  /// throws what fail() was given, or returns nothing. Throws Error{kCancelled} as push.
  std::optional<T> pop(const CancelToken* cancel = nullptr) {
    std::unique_lock<std::mutex> lock(mutex_);
    wait(lock, cancel, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) {
      if (failure_) std::rethrow_exception(failure_);
      return std::nullopt;
    }
    std::optional<T> out(std::move(items_.front()));
    items_.pop_front();
    changed_.notify_all();
    return out;
  }

  /// Items there are at the moment.
  std::size_t size() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return items_.size();
  }

  /// No more items: wakes both sides. Closing twice is no error.
  void close() noexcept { fail(nullptr); }

  /// Closes with an exception for pop() to throw behind the last item. The first close counts.
  void fail(std::exception_ptr failure) noexcept {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!closed_) failure_ = std::move(failure);
    closed_ = true;
    changed_.notify_all();
  }

 private:
  static constexpr std::chrono::milliseconds kPoll{50};

  template <typename Ready>
  void wait(std::unique_lock<std::mutex>& lock, const CancelToken* cancel, Ready ready) {
    for (;;) {
      if (cancel != nullptr) cancel->check();
      if (ready()) return;
      changed_.wait_for(lock, kPoll);
    }
  }

  const std::size_t capacity_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<T> items_;
  bool closed_ = false;
  std::exception_ptr failure_;
};

}  // namespace reelm
