#include "bench/ceilings/ceilings.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <vector>

#include "bench/ceilings/loops.h"
#include "core/aligned_buffer.h"
#include "core/parallel.h"
#include "kernels/isa.h"

namespace reelm::bench {

namespace {

using Clock = std::chrono::steady_clock;
using kernels::Isa;

// Many short tries: on a machine that others use too, some fall between their time slices.
constexpr int kTries = 100;
constexpr int kWindows = 4;  // of the memory that is read: one a try, in turn
constexpr std::int64_t kOperandBytes = 256;
// Zen 3 and Zen 5 are fastest somewhere in this range; which one differs with the load.
constexpr std::array<std::int64_t, 4> kAhead = {0, 1024, 4096, 8192};

/// Runs `body(thread)` once a thread, all at the same time; seconds from the first one's start to
/// the last one's end. They wait for each other first: waking a team takes longer than a short try,
/// on a busy machine far longer.
template <typename Fn>
double time_all_threads(Fn&& body) {
  const std::int64_t threads = num_threads();
  std::vector<Clock::time_point> begin(static_cast<std::size_t>(threads)), end(begin.size());
  std::atomic<std::int64_t> arrived{0};
  parallel_for(threads, 1, [&](std::int64_t first, std::int64_t last) {
    arrived += last - first;
    // Bounded: the runtime may have granted fewer threads than it promised.
    const auto patience = Clock::now() + std::chrono::milliseconds(100);
    while (arrived < threads && Clock::now() < patience) continue;
    for (std::int64_t i = first; i < last; ++i) {
      begin[static_cast<std::size_t>(i)] = Clock::now();
      body(i);
      end[static_cast<std::size_t>(i)] = Clock::now();
    }
  });
  return std::chrono::duration<double>(*std::max_element(end.begin(), end.end()) -
                                       *std::min_element(begin.begin(), begin.end()))
      .count();
}

/// The same bytes all over: small numbers of whatever type the loop takes them for.
enum class Operand : std::uint32_t { kF32 = 0x3f000000, kBf16 = 0x3c003c00, kInt = 0x01010101 };

Ceiling measure_loop(const ComputeLoop& loop, Operand operand, double try_ms) {
  AlignedBuffer<char> operands(static_cast<std::size_t>(num_threads() * kOperandBytes));
  for (std::size_t i = 0; i < operands.size(); i += 4) {
    std::memcpy(operands.data() + i, &operand, 4);
  }
  const auto run = [&](std::int64_t iterations) {
    return time_all_threads([&](std::int64_t thread) {
      loop.run(iterations, operands.data() + thread * kOperandBytes);
    });
  };
  std::int64_t iterations = 10'000;
  while (std::min({run(iterations), run(iterations), run(iterations)}) * 1e3 < try_ms / 2) {
    iterations *= 2;
  }
  double best = 0.0;
  for (int i = 0; i < kTries; ++i) {
    const double seconds = run(iterations);
    best = std::max(best, static_cast<double>(iterations) / seconds);
  }
  return {best * loop.ops_per_iteration * num_threads() * 1e-9, loop.name};
}

/// The best of all loops and distances, then the best of several more tries with that.
Ceiling measure_read(ReadLoops loops, std::int64_t read_bytes) {
  const std::int64_t threads = num_threads();
  const std::int64_t part = read_bytes / threads / 4096 * 4096;
  AlignedBuffer<char> data(static_cast<std::size_t>(part * threads));
  AlignedBuffer<char> sinks(static_cast<std::size_t>(64 * threads));
  // Each thread touches its own part first, so that the memory is its node's.
  (void)time_all_threads([&](std::int64_t thread) {
    std::memset(data.data() + thread * part, 1, static_cast<std::size_t>(part));
  });
  // By the time a window's turn comes again, three others have pushed it out of the caches.
  const std::int64_t window = part / kWindows / 4096 * 4096;
  std::int64_t turn = 0;
  const auto run = [&](const ReadLoop& loop, std::int64_t ahead) {
    const std::int64_t first = turn++ % kWindows * window;
    const double seconds = time_all_threads([&](std::int64_t thread) {
      loop.run(data.data() + thread * part + first, window, ahead, sinks.data() + thread * 64);
    });
    return static_cast<double>(window * threads) / seconds * 1e-9;
  };
  Ceiling best;
  const ReadLoop* best_loop = loops.first;
  std::int64_t best_ahead = 0;
  for (int i = 0; i < loops.count; ++i) {
    for (const std::int64_t ahead : kAhead) {
      double rate = 0.0;
      for (int k = 0; k < kWindows; ++k) rate = std::max(rate, run(loops.first[i], ahead));
      if (rate <= best.rate) continue;
      best.rate = rate;
      best_loop = loops.first + i;
      best_ahead = ahead;
    }
  }
  for (int i = 0; i < kTries; ++i) best.rate = std::max(best.rate, run(*best_loop, best_ahead));
  best.loop = fmt::format("{}, {} streams a thread, prefetch {} bytes ahead", best_loop->name,
                          best_loop->streams, best_ahead);
  return best;
}

bool has_vnni() {
#if defined(__x86_64__)
  return __builtin_cpu_supports("avx512vnni") != 0;
#else
  return false;
#endif
}

}  // namespace

Ceilings measure_ceilings(double try_ms, long long read_bytes) {
  const Isa isa = kernels::supported_isas().back();
  const ComputeLoop* f32 = &portable_f32_loop();
  const ComputeLoop* int8 = &portable_int8_loop();
  const ComputeLoop* bf16 = nullptr;
  ReadLoops read = portable_read_loops();
#if defined(__x86_64__)
  if (isa >= Isa::kAvx2) {
    f32 = &avx2_f32_loop();
    int8 = &avx2_int8_loop();
    read = avx2_read_loops();
  }
  if (isa >= Isa::kAvx512) {
    f32 = &avx512_f32_loop();
    read = avx512_read_loops();
    if (has_vnni()) int8 = &avx512vnni_loop();
  }
  if (isa >= Isa::kAvx512Bf16) bf16 = &avx512bf16_loop();
  if (isa >= Isa::kAmx) {
    bf16 = &amx_bf16_loop();
    int8 = &amx_int8_loop();
  }
#else
  (void)isa;
#endif
  Ceilings out;
  out.f32 = measure_loop(*f32, Operand::kF32, try_ms);
  out.int8 = measure_loop(*int8, Operand::kInt, try_ms);
  out.native_bf16 = bf16 != nullptr;
  if (bf16 != nullptr) {
    out.bf16 = measure_loop(*bf16, Operand::kBf16, try_ms);
  } else {
    out.bf16 = {out.f32.rate, "no bf16 dot product: bf16 weights are widened, f32 bounds them"};
  }
  out.read = measure_read(read, read_bytes);
  return out;
}

Ceilings best_of(const Ceilings& a, const Ceilings& b) {
  const auto higher = [](const Ceiling& x, const Ceiling& y) { return x.rate >= y.rate ? x : y; };
  return {higher(a.bf16, b.bf16), higher(a.int8, b.int8), higher(a.f32, b.f32),
          higher(a.read, b.read), a.native_bf16};
}

}  // namespace reelm::bench
