// Data-parallel loops over one team of threads (OpenMP's, the one oneDNN uses too, so that the two
// never compete for cores).
#pragma once

#include <cstdint>
#include <type_traits>

namespace reelm {

/// Threads a loop of this thread may use: the hardware's, or what set_num_threads or LoopThreads
/// chose.
int num_threads() noexcept;

/// Number of threads for all later loops and matrix products. n <= 0: as many as there are cores.
void set_num_threads(int n) noexcept;

namespace internal {
using LoopBody = void (*)(void* context, std::int64_t begin, std::int64_t end);
void run_loop(std::int64_t n, std::int64_t grain, LoopBody body, void* context);
}  // namespace internal

/// Loops of this thread run in this thread while the object lives: a second thread beside the one
/// that computes must not raise a second team, or the two would take the cores from each other.
class SerialLoops {
 public:
  SerialLoops() noexcept;
  ~SerialLoops();
  SerialLoops(const SerialLoops&) = delete;
  SerialLoops& operator=(const SerialLoops&) = delete;

 private:
  const bool before_;
};

/// Loops and matrix products of this thread use at most `n` threads while the object lives: the
/// share of a thread beside others that compute too. n <= 0: no other number than before.
class LoopThreads {
 public:
  explicit LoopThreads(int n) noexcept;
  ~LoopThreads();
  LoopThreads(const LoopThreads&) = delete;
  LoopThreads& operator=(const LoopThreads&) = delete;

 private:
  const int before_;
};

/// Calls fn(begin, end) over disjoint ranges that cover [0, n), each at least `grain` long (but the
/// last), at most one range a thread. Runs in the caller when one range is enough. Whatever fn
/// writes for an index must not depend on the split: results are bitwise equal for any number of
/// threads. What fn throws (no memory for a thread's scratch) is thrown here once all threads are
/// done: the first of it.
template <typename Fn>
void parallel_for(std::int64_t n, std::int64_t grain, Fn&& fn) {
  auto body = [](void* context, std::int64_t begin, std::int64_t end) {
    (*static_cast<std::remove_reference_t<Fn>*>(context))(begin, end);
  };
  internal::run_loop(n, grain, body, const_cast<void*>(static_cast<const void*>(&fn)));
}

}  // namespace reelm
