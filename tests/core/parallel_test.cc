#include "core/parallel.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

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

}  // namespace
}  // namespace reelm
