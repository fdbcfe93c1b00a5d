// Who has been promised how much memory. Not installed.
#pragma once

#include <cstdint>
#include <mutex>
#include <optional>

namespace reelm::pipeline {

/// Memory promised to the requests under way. Pages are taken as they are filled, so that what the
/// system calls available still holds what was promised to others: without a ledger several
/// requests would each count on the same bytes.
class MemoryLedger {
 public:
  /// Asks how much memory the system could give now; 0: unknown, then nothing is refused.
  using Available = std::int64_t (*)() noexcept;
  explicit MemoryLedger(Available available) noexcept : available_(available) {}
  MemoryLedger(const MemoryLedger&) = delete;
  MemoryLedger& operator=(const MemoryLedger&) = delete;

  /// Bytes that are counted as taken while the object lives.
  class Promise {
   public:
    Promise(Promise&& other) noexcept;
    Promise& operator=(Promise&&) = delete;
    ~Promise();

   private:
    friend class MemoryLedger;
    Promise(MemoryLedger& ledger, std::int64_t bytes) noexcept : ledger_(&ledger), bytes_(bytes) {}
    MemoryLedger* ledger_;
    std::int64_t bytes_;
  };

  /// Promises `bytes` (0 or more), or nothing when they are more than is left, which then goes to
  /// `left`.
  std::optional<Promise> promise(std::int64_t bytes, std::int64_t& left);

 private:
  std::int64_t left_now() const noexcept;

  const Available available_;
  std::mutex mutex_;
  std::int64_t promised_ = 0;
  std::int64_t at_first_ = 0;  // available when the first of the requests under way came
};

}  // namespace reelm::pipeline
