#include "core/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <exception>
#ifdef __SANITIZE_THREAD__
#include <thread>
#include <vector>
#endif

#include "core/timeline.h"

namespace reelm {

namespace {
// 0: OpenMP's default (OMP_NUM_THREADS or the cores of the affinity mask)
std::atomic<int> g_threads{0};
thread_local int t_threads = 0;  // 0: as everywhere
thread_local bool t_serial = false;

/// The first exception of a loop's threads: none may leave a parallel region or a thread.
class FirstFailure {
 public:
  void run(internal::LoopBody body, void* context, std::int64_t begin, std::int64_t end) noexcept {
    try {
      body(context, begin, end);
    } catch (...) {
      if (!taken_.exchange(true)) failure_ = std::current_exception();
    }
  }
  /// After the threads have joined.
  void rethrow() const {
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  std::atomic<bool> taken_{false};
  std::exception_ptr failure_;
};
}  // namespace

SerialLoops::SerialLoops() noexcept : before_(t_serial) { t_serial = true; }
SerialLoops::~SerialLoops() { t_serial = before_; }

LoopThreads::LoopThreads(int n) noexcept : before_(t_threads) {
  if (n > 0) t_threads = n;
}
LoopThreads::~LoopThreads() { t_threads = before_; }

int num_threads() noexcept {
  if (t_threads > 0) return t_threads;
  const int chosen = g_threads.load(std::memory_order_relaxed);
  return chosen > 0 ? chosen : omp_get_max_threads();
}

int loop_threads() noexcept { return t_serial || omp_in_parallel() ? 1 : num_threads(); }

void set_num_threads(int n) noexcept {
  g_threads.store(std::max(n, 0), std::memory_order_relaxed);
  // oneDNN sizes its teams by OpenMP's own setting.
  omp_set_num_threads(n > 0 ? n : omp_get_num_procs());
}

namespace internal {
namespace {
/// One thread's piece of a loop; recorded as its share of what the loop's caller is at (null:
/// nothing is recorded).
void run_piece(FirstFailure& failure, const char* caller, int thread, LoopBody body, void* context,
               std::int64_t begin, std::int64_t end) noexcept {
  if (caller == nullptr) {
    failure.run(body, context, begin, end);
    return;
  }
  const TimelineLane lane(lanes::kWorker, thread);
  const TimelineSpan share(caller, SpanKind::kShare);
  failure.run(body, context, begin, end);
}

/// A loop in `pieces`, one a thread. Not inline: clang asks its OpenMP for the thread's number
/// where a function with a parallel region begins, which sets that library up, with files and
/// memory.
[[gnu::noinline]] void run_pieces(std::int64_t n, std::int64_t pieces, LoopBody body,
                                  void* context) {
  FirstFailure failure;
  const char* const caller = Timeline::on() ? Timeline::at_work() : nullptr;
#ifdef __SANITIZE_THREAD__
  // ThreadSanitizer does not see libgomp's barriers and would report every loop.
  std::vector<std::thread> team;
  for (std::int64_t i = 0; i < pieces; ++i) {
    team.emplace_back([&, i] {
      run_piece(failure, caller, static_cast<int>(i), body, context, n * i / pieces,
                n * (i + 1) / pieces);
    });
  }
  for (std::thread& thread : team) thread.join();
#else
#pragma omp parallel num_threads(static_cast <int>(pieces))
  {
    // The runtime may grant fewer threads than asked for.
    const std::int64_t team = omp_get_num_threads();
    const std::int64_t index = omp_get_thread_num();
    const std::int64_t begin = n * index / team;
    const std::int64_t end = n * (index + 1) / team;
    if (begin < end) {
      run_piece(failure, caller, static_cast<int>(index), body, context, begin, end);
    }
  }
#endif
  failure.rethrow();
}
}  // namespace

void run_loop(std::int64_t n, std::int64_t grain, LoopBody body, void* context) {
  if (n <= 0) return;
  if (t_serial) {  // OpenMP is not asked: a process that may open no file must not set clang's up
    body(context, 0, n);
    return;
  }
  grain = std::max<std::int64_t>(grain, 1);
  const std::int64_t pieces = std::min<std::int64_t>(num_threads(), (n + grain - 1) / grain);
  if (pieces <= 1 || omp_in_parallel()) {
    body(context, 0, n);
  } else {
    run_pieces(n, pieces, body, context);
  }
}
}  // namespace internal

}  // namespace reelm
