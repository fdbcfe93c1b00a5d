#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "core/error.h"

namespace reelm {
namespace {

TEST(Parallel, WhatAThreadThrowsReachesTheCallerOnce) {
  for (const int threads : {1, 2, 3}) {
    set_num_threads(threads);
    for (const std::int64_t at : {0, 499, 999}) {
      std::atomic<int> thrown{0};
      try {
        parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end) {
          if (at < begin || at >= end) return;
          ++thrown;
          throw Error(ErrorCode::kOutOfMemory, "at " + std::to_string(at));
        });
        ADD_FAILURE() << "nothing was thrown";
      } catch (const Error& error) {
        EXPECT_EQ(error.what(), "at " + std::to_string(at));
      }
      EXPECT_EQ(thrown, 1);
    }
    EXPECT_THROW(parallel_for(1000, 1, [](std::int64_t, std::int64_t) { throw 7; }), int);
    // The team works as before.
    std::atomic<std::int64_t> sum{0};
    parallel_for(1000, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) sum += i;
    });
    EXPECT_EQ(sum, 499'500);
  }
  set_num_threads(0);
}

TEST(Parallel, AThreadsShareIsItsOwn) {
  const auto pieces = [] {
    std::atomic<int> count{0};
    parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++count; });
    return count.load();
  };
  set_num_threads(4);
  {
    const LoopThreads two(2);
    EXPECT_EQ(num_threads(), 2);
    EXPECT_LE(pieces(), 2);
    {
      const LoopThreads one(1);
      EXPECT_EQ(pieces(), 1);
      const LoopThreads as_before(0);
      EXPECT_EQ(num_threads(), 1);
    }
    EXPECT_EQ(num_threads(), 2);
    std::thread([&] { EXPECT_EQ(num_threads(), 4); }).join();
  }
  EXPECT_EQ(num_threads(), 4);
  set_num_threads(0);
}

TEST(Parallel, EveryTaskIsDealtOnce) {
  for (const int threads : {1, 3}) {
    set_num_threads(threads);
    for (const Dealing dealing : {Dealing::kStatic, Dealing::kAffine, Dealing::kDynamic}) {
      for (const std::int64_t operands : {0, 1, 2, 50}) {
        for (const std::int64_t per_operand : {0, 1, 3}) {
          for (const std::int64_t grain : {0, 1, 7, 1000}) {
            std::vector<std::atomic<int>> seen(static_cast<std::size_t>(operands * per_operand));
            parallel_tasks(dealing, operands, per_operand, grain,
                           [&](std::int64_t begin, std::int64_t end) {
                             for (std::int64_t i = begin; i < end; ++i) ++seen.at(std::size_t(i));
                           });
            for (const auto& count : seen) ASSERT_EQ(count, 1);
          }
        }
      }
    }
  }
  set_num_threads(0);
}

TEST(Parallel, AffineKeepsAnOperandWithOneThread) {
  set_num_threads(3);
  std::vector<std::atomic<std::thread::id>> owner(7);
  std::atomic<int> split{0};
  for (int call = 0; call < 20; ++call) {
    for (auto& each : owner) each = std::thread::id();
    parallel_tasks(Dealing::kAffine, 7, 11, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        std::thread::id nobody;
        auto& mine = owner.at(static_cast<std::size_t>(i / 11));
        if (!mine.compare_exchange_strong(nobody, std::this_thread::get_id()) &&
            nobody != std::this_thread::get_id()) {
          ++split;
        }
      }
    });
  }
  EXPECT_EQ(split, 0);
  set_num_threads(0);
}

TEST(Parallel, WhatIsThrownWhileDealingReachesTheCaller) {
  set_num_threads(3);
  EXPECT_THROW(parallel_for_dynamic(1000, 1, [](std::int64_t, std::int64_t) { throw 7; }), int);
  const SerialLoops serial;
  EXPECT_EQ(loop_threads(), 1);
  int calls = 0;
  parallel_for_dynamic(1000, 1, [&](std::int64_t begin, std::int64_t end) {
    EXPECT_EQ(end - begin, 1000);
    ++calls;
  });
  EXPECT_EQ(calls, 1);
  set_num_threads(0);
}

}  // namespace
}  // namespace reelm
