// The queue between two threads, and what stops them.
#include "core/bounded_queue.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "core/parallel.h"

namespace reelm {
namespace {

TEST(BoundedQueue, KeepsOrderAndNeverHoldsMoreThanItsCapacity) {
  BoundedQueue<int> queue(3);
  std::atomic<int> pushed{0};
  std::thread producer([&] {
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(queue.push(i));
      ++pushed;
    }
    queue.close();
  });
  int expected = 0;
  while (const std::optional<int> item = queue.pop()) {
    EXPECT_EQ(*item, expected++);
    // Taken: `expected`; in the queue: 3 at most.
    EXPECT_LE(pushed.load(), expected + 3);
  }
  EXPECT_EQ(expected, 1000);
  producer.join();
}

TEST(BoundedQueue, PushWaitsForRoom) {
  BoundedQueue<int> queue(1);
  ASSERT_TRUE(queue.push(1));
  std::atomic<bool> second{false};
  std::thread producer([&] {
    EXPECT_TRUE(queue.push(2));
    second = true;
  });
  EXPECT_FALSE(second.load());  // whatever the scheduler does: there is no room before the pop
  EXPECT_EQ(queue.pop(), 1);
  EXPECT_EQ(queue.pop(), 2);
  producer.join();
  EXPECT_TRUE(second.load());
}

TEST(BoundedQueue, CloseWakesWhoeverWaits) {
  BoundedQueue<int> full(1), empty(1);
  ASSERT_TRUE(full.push(1));
  std::thread pusher([&] { EXPECT_FALSE(full.push(2)); });
  std::thread popper([&] { EXPECT_EQ(empty.pop(), std::nullopt); });
  full.close();
  empty.close();
  empty.close();
  pusher.join();
  popper.join();
  EXPECT_EQ(full.pop(), 1);  // what was in it comes out
  EXPECT_EQ(full.pop(), std::nullopt);
  EXPECT_FALSE(full.push(3));
}

TEST(BoundedQueue, AFailureComesBehindTheItemsAsTheSameException) {
  BoundedQueue<int> queue(2);
  std::thread producer([&] {
    (void)queue.push(1);
    try {
      throw Error(ErrorCode::kFormat, "torn");
    } catch (...) {
      queue.fail(std::current_exception());
    }
    queue.fail(std::make_exception_ptr(std::logic_error("a later one does not count")));
  });
  producer.join();
  EXPECT_EQ(queue.pop(), 1);
  for (int again = 0; again < 2; ++again) {
    try {
      (void)queue.pop();
      FAIL() << "no exception";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kFormat);
      EXPECT_STREQ(e.what(), "torn");
    }
  }
}

TEST(BoundedQueue, CancelEndsBothWaits) {
  BoundedQueue<int> full(1), empty(1);
  ASSERT_TRUE(full.push(1));
  CancelToken cancel;
  std::thread pusher([&] { EXPECT_THROW((void)full.push(2, &cancel), Error); });
  std::thread popper([&] { EXPECT_THROW((void)empty.pop(&cancel), Error); });
  cancel.cancel();
  pusher.join();
  popper.join();
}

TEST(BoundedQueue, TakesWhatCannotBeCopied) {
  BoundedQueue<std::unique_ptr<int>> queue(1);
  ASSERT_TRUE(queue.push(std::make_unique<int>(7)));
  const auto item = queue.pop();
  ASSERT_TRUE(item.has_value());
  EXPECT_EQ(**item, 7);
}

TEST(CancelToken, AChildStopsWithItsParentAndNotTheOtherWayRound) {
  CancelToken parent;
  CancelToken child(&parent), other(&parent);
  child.cancel();
  EXPECT_TRUE(child.stopped());
  EXPECT_FALSE(parent.stopped());
  EXPECT_FALSE(other.stopped());
  parent.set_deadline(CancelToken::Clock::now());
  EXPECT_TRUE(other.stopped());
  EXPECT_THROW(other.check(), Error);
}

TEST(SerialLoops, RunALoopInOnePieceInThisThreadOnly) {
  const auto pieces = [] {
    std::atomic<int> n{0};
    parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++n; });
    return n.load();
  };
  set_num_threads(4);
  {
    const SerialLoops serial;
    {
      const SerialLoops nested;
      EXPECT_EQ(pieces(), 1);
    }
    EXPECT_EQ(pieces(), 1);
    int elsewhere = 0;
    std::thread([&] { elsewhere = pieces(); }).join();
    EXPECT_GT(elsewhere, 1);
  }
  EXPECT_GT(pieces(), 1);
  set_num_threads(0);
}

}  // namespace
}  // namespace reelm
