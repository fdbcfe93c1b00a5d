// Several requests at once over one copy of the weights: replicas, the pool of workers, the ledger
// of memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <chrono>
#include <future>
#include <latch>
#include <thread>

#include "core/parallel.h"
#include "pipeline/memory_ledger.h"
#include "pipeline/worker_pool.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

using ::testing::ElementsAre;
using testing::FakeModel;

const std::filesystem::path kDemo = REELM_DEMO_MODEL;
constexpr std::chrono::seconds kLong{60};  // what a test that hangs is given

Request about_sample(const std::string& question) {
  Request request =
      Request::question({preprocess::MediaSource::from_path(kDemo / "sample.mp4")}, question);
  request.generation.max_new_tokens = 24;
  return request;
}

/// Answers "y" and ends.
Engine yes_engine(int replicas) {
  FakeModel fake;
  for (int i = 0; i < 8; ++i) fake.say("y");
  return {std::move(fake.model), {.replicas = replicas}};
}

ErrorCode code_of(std::future<Answer>& answer) {
  try {
    (void)answer.get();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was thrown";
  return ErrorCode::kIo;
}

std::size_t heap_bytes() {
  const struct mallinfo2 info = ::mallinfo2();
  return info.uordblks + info.hblkhd;
}

TEST(Replicas, ShareTheWeights) {
  for (const Dtype dtype : {Dtype::kBF16, Dtype::kInt4}) {
    const Model model = open_model(kDemo, {.dtypes = {dtype, Dtype::kAuto}});
    const std::size_t weights = model.decoder->weight_bytes() + model.vision->weight_bytes();
    const std::size_t before = heap_bytes();  // 0 under a sanitizer's malloc
    const Model replica = model.replica();
    EXPECT_LT(heap_bytes() - before, weights / 20);
    EXPECT_EQ(replica.decoder->weight_bytes(), model.decoder->weight_bytes());
    EXPECT_EQ(replica.tokenizer, model.tokenizer);
    EXPECT_NE(replica.decoder, model.decoder);
  }
}

// The answers of the single engine are the goldens' (goldens_test.cc).
TEST(Replicas, AnswerAtOnceWhatOneAnswersAlone) {
  const std::vector<std::string> questions = {"What moves?", "Describe the video.",
                                              "Which way does it go?", "What colour is it?"};
  Engine alone = Engine::open(kDemo);
  std::vector<std::vector<llm::TokenId>> expected;
  for (const std::string& question : questions) {
    expected.push_back(alone.ask(about_sample(question)).token_ids);
  }
  for (const int replicas : {2, 3}) {
    Engine engine = Engine::open(kDemo, {.threads = 3, .replicas = replicas});
    WorkerPool pool(engine);
    EXPECT_EQ(pool.workers(), static_cast<std::size_t>(replicas));
    std::vector<std::future<Answer>> answers;
    for (int turn = 0; turn < 2; ++turn) {
      for (const std::string& question : questions) {
        answers.push_back(pool.submit(about_sample(question)));
      }
    }
    for (std::size_t i = 0; i < answers.size(); ++i) {
      EXPECT_EQ(answers[i].get().token_ids, expected[i % questions.size()]) << i;
    }
  }
  set_num_threads(0);
}

TEST(Replicas, SessionsTakeTurnsAtTheSameTime) {
  const auto converse = [](WorkerPool& pool, Session& session, bool wait) {
    auto first = pool.submit(session, about_sample("What moves?"));
    if (wait) first.wait();
    return first;
  };
  Engine engine = Engine::open(kDemo, {.replicas = 2});
  WorkerPool pool(engine);
  std::vector<std::vector<llm::TokenId>> second_turns;
  for (const bool together : {false, true}) {
    Session a(engine), b(engine);
    auto first_a = converse(pool, a, !together);
    auto first_b = converse(pool, b, !together);
    EXPECT_EQ(first_a.get().token_ids, first_b.get().token_ids);
    auto again_a = pool.submit(a, Request::question({}, "Which way?"));
    if (!together) again_a.wait();
    auto again_b = pool.submit(b, Request::question({}, "Which way?"));
    second_turns.push_back(again_a.get().token_ids);
    second_turns.push_back(again_b.get().token_ids);
    EXPECT_EQ(a.length(), b.length());
  }
  for (const auto& turn : second_turns) EXPECT_EQ(turn, second_turns.front());
}

TEST(Replicas, AsManyRequestsAsThereAreRunAtTheSameTime) {
  Engine engine = yes_engine(2);
  WorkerPool pool(engine);
  std::latch both(2);
  std::atomic<int> met{0};
  Request request = Request::question({}, "?");
  request.on_text = [&](std::string_view) {
    both.count_down();
    const auto end = std::chrono::steady_clock::now() + kLong;
    while (!both.try_wait() && std::chrono::steady_clock::now() < end) std::this_thread::yield();
    met += both.try_wait();
    return true;
  };
  auto one = pool.submit(request), two = pool.submit(request);
  EXPECT_EQ(one.get().text, "y");
  EXPECT_EQ(two.get().text, "y");
  EXPECT_EQ(met, 2) << "the second request began when the first had ended";
}

TEST(Replicas, OneTooManyWaitsAndCanBeCancelled) {
  Engine engine = yes_engine(1);
  Request request = Request::question({}, "?");
  request.on_text = [&](std::string_view) {
    CancelToken hurry;
    hurry.set_deadline(CancelToken::Clock::now() + std::chrono::milliseconds(1));
    std::thread other([&] {
      Request second = Request::question({}, "?");
      second.cancel = &hurry;
      try {
        (void)engine.ask(second);
        ADD_FAILURE() << "two requests had one replica";
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kCancelled);
      }
    });
    other.join();
    return true;
  };
  EXPECT_EQ(engine.ask(request).text, "y");
  EXPECT_EQ(engine.ask(Request::question({}, "?")).text, "y");  // the replica came back
}

TEST(Replicas, AreOneOrMore) {
  for (const int replicas : {0, -1, 1 << 20}) {
    FakeModel fake;
    try {
      const Engine engine(std::move(fake.model), {.replicas = replicas});
      ADD_FAILURE() << replicas << " were taken";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      EXPECT_THAT(error.what(), ::testing::HasSubstr("expected 1 to"));
    }
  }
}

TEST(WorkerPool, AnswersInTheOrderOfTheQueue) {
  FakeModel fake;
  for (const char* text : {"a", "b", "c"}) fake.say(text);
  Engine engine(std::move(fake.model), {});
  std::vector<std::future<Answer>> answers;
  {
    WorkerPool pool(engine);
    for (int i = 0; i < 3; ++i) answers.push_back(pool.submit(Request::question({}, "?")));
  }  // what was taken is answered
  std::vector<std::string> said;
  for (auto& answer : answers) said.push_back(answer.get().text);
  EXPECT_THAT(said, ElementsAre("a", "b", "c"));
}

TEST(WorkerPool, ErrorsReachTheirOwnFutureOnly) {
  Engine engine = yes_engine(1);
  WorkerPool pool(engine);
  Request bad = Request::question({}, "?");
  bad.generation.max_new_tokens = -1;
  auto failed = pool.submit(bad);
  auto fine = pool.submit(Request::question({}, "?"));
  EXPECT_EQ(code_of(failed), ErrorCode::kInvalidArgument);
  EXPECT_EQ(fine.get().text, "y");
}

TEST(WorkerPool, ARequestCancelledInTheQueueIsNotBegun) {
  FakeModel fake;
  fake.say("y");
  Engine engine(std::move(fake.model), {});
  WorkerPool pool(engine);
  std::latch begun(1), go_on(1);
  Request slow = Request::question({}, "?");
  slow.on_text = [&](std::string_view) {
    begun.count_down();
    go_on.wait();
    return true;
  };
  auto first = pool.submit(slow);
  begun.wait();
  CancelToken cancel;
  Request waiting = Request::question({}, "?");
  waiting.cancel = &cancel;
  auto second = pool.submit(waiting);
  cancel.cancel();
  go_on.count_down();
  EXPECT_EQ(first.get().text, "y");
  EXPECT_EQ(code_of(second), ErrorCode::kCancelled);
  pool.close();
  EXPECT_EQ(fake.decoder->prompts.size(), 1u);
}

TEST(WorkerPool, AFullQueueIsWaitedForAndTheWaitCanBeCancelled) {
  Engine engine = yes_engine(1);
  WorkerPool pool(engine, 1);
  std::latch begun(1), go_on(1);
  Request slow = Request::question({}, "?");
  slow.on_text = [&](std::string_view) {
    begun.count_down();
    go_on.wait();
    return true;
  };
  auto first = pool.submit(slow);
  begun.wait();
  auto second = pool.submit(Request::question({}, "?"));  // fills the queue
  CancelToken hurry;
  hurry.set_deadline(CancelToken::Clock::now() + std::chrono::milliseconds(1));
  Request third = Request::question({}, "?");
  third.cancel = &hurry;
  try {
    (void)pool.submit(third);
    ADD_FAILURE() << "the queue holds one and took two";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
  go_on.count_down();
  EXPECT_EQ(first.get().text, "y");
  EXPECT_EQ(second.get().text, "y");
}

TEST(WorkerPool, TakesNothingOnceClosedAndNeedsRoom) {
  Engine engine = yes_engine(1);
  EXPECT_THROW(WorkerPool(engine, 0), Error);
  WorkerPool pool(engine);
  pool.close();
  pool.close();  // no error
  try {
    (void)pool.submit(Request::question({}, "?"));
    ADD_FAILURE() << "a closed pool took a request";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  }
}

std::int64_t g_available = 0;
std::int64_t fake_available() noexcept { return g_available; }

TEST(MemoryLedger, PromisesTheSameBytesOnce) {
  g_available = 100;
  MemoryLedger ledger(fake_available);
  std::int64_t left = 0;
  auto first = ledger.promise(60, left);
  ASSERT_TRUE(first);
  EXPECT_FALSE(ledger.promise(41, left));  // though the system still has 100
  EXPECT_EQ(left, 40);
  g_available = 40;  // the first has taken its pages: they are not counted twice
  auto second = ledger.promise(40, left);
  EXPECT_TRUE(second);
  second.reset();
  g_available = 10;  // somebody else took memory
  EXPECT_FALSE(ledger.promise(11, left));
  EXPECT_EQ(left, 10);
  g_available = 0;  // it does not tell any more
  EXPECT_FALSE(ledger.promise(41, left));
  EXPECT_EQ(left, 40);
  first.reset();
  g_available = 1000;  // nobody is promised anything: what there is now counts
  EXPECT_TRUE(ledger.promise(1000, left));
}

TEST(MemoryLedger, RefusesNothingWhereTheSystemDoesNotTell) {
  g_available = 0;
  MemoryLedger ledger(fake_available);
  std::int64_t left = 0;
  EXPECT_TRUE(ledger.promise(std::int64_t{1} << 60, left));
}

}  // namespace
}  // namespace reelm::pipeline
