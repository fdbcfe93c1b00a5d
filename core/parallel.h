// Data-parallel loops over one team of threads (OpenMP's, the one oneDNN uses too, so that the two
// never compete for cores).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <type_traits>

namespace reelm {

/// Threads a loop of this thread may use: the hardware's, or what set_num_threads or LoopThreads
/// chose.
int num_threads() noexcept;

/// Threads a loop of this thread would get now: 1 within another loop or under SerialLoops.
int loop_threads() noexcept;

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

/// The same, but a thread that is done takes what comes next: some 16 pieces a thread, so that one
/// that was held up keeps nobody waiting. Which thread does what differs from call to call.
template <typename Fn>
void parallel_for_dynamic(std::int64_t n, std::int64_t grain, Fn&& fn) {
  constexpr std::int64_t kPieces = 16;
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t threads = std::min<std::int64_t>(loop_threads(), n / grain);
  if (threads <= 1) {
    parallel_for(n, n, fn);
    return;
  }
  const std::int64_t piece = std::max(grain, n / (threads * kPieces));
  std::atomic<std::int64_t> next{0};
  parallel_for(threads, 1, [&](std::int64_t, std::int64_t) {
    while (true) {
      const std::int64_t begin = next.fetch_add(piece, std::memory_order_relaxed);
      if (begin >= n) return;
      fn(begin, std::min(n, begin + piece));
    }
  });
}

/// How the tasks of a loop are dealt to its threads.
enum class Dealing {
  kStatic,   ///< one contiguous share a thread: parallel_for
  kAffine,   ///< the same of whole operands: a thread meets the same ones in every call
  kDynamic,  ///< whoever is done takes the next: parallel_for_dynamic
};

/// Calls fn(begin, end) over tasks operand * per_operand + i, dealt as said; `grain` is in tasks.
template <typename Fn>
void parallel_tasks(Dealing dealing, std::int64_t operands, std::int64_t per_operand,
                    std::int64_t grain, Fn&& fn) {
  const std::int64_t n = operands * per_operand;
  switch (dealing) {
    case Dealing::kStatic:
      return parallel_for(n, grain, fn);
    case Dealing::kDynamic:
      return parallel_for_dynamic(n, grain, fn);
    case Dealing::kAffine:
      return parallel_for(n > 0 ? operands : 0, grain / std::max<std::int64_t>(per_operand, 1),
                          [&](std::int64_t begin, std::int64_t end) {
                            fn(begin * per_operand, end * per_operand);
                          });
  }
}

}  // namespace reelm
