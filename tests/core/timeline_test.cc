// The recorder behind --trace, and the file it writes.
#include "core/timeline.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <fstream>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <vector>

#include "core/error.h"
#include "core/parallel.h"
#include "core/timeline_file.h"
#include "core/trace.h"
#include "tests/support/scratch_dir.h"

namespace reelm {
namespace {

const TimelineRecording::Lane* lane(const TimelineRecording& recording, const std::string& name) {
  for (const auto& one : recording.lanes) {
    if (one.name == name) return &one;
  }
  return nullptr;
}

std::int64_t end_of(const TimelineEvent& e) { return e.begin_ns + e.duration_ns; }

/// Any two spans lie apart or one inside of the other.
void expect_nested(const TimelineRecording::Lane& lane) {
  for (const TimelineEvent& a : lane.events) {
    for (const TimelineEvent& b : lane.events) {
      const bool apart = end_of(a) <= b.begin_ns || end_of(b) <= a.begin_ns;
      const bool a_in_b = b.begin_ns <= a.begin_ns && end_of(a) <= end_of(b);
      const bool b_in_a = a.begin_ns <= b.begin_ns && end_of(b) <= end_of(a);
      EXPECT_TRUE(apart || a_in_b || b_in_a) << a.name << " and " << b.name;
    }
  }
}

TEST(Timeline, RecordsNothingUnlessStarted) {
  (void)Timeline::stop();
  {
    TimelineSpan span("before", SpanKind::kStage);
    EXPECT_FALSE(span.recorded());
    EXPECT_EQ(Timeline::at_work(), nullptr);
    span.tell({.flop = 1});
    Timeline::start();  // too late for `span`
  }
  const TimelineRecording recording = Timeline::stop();
  ASSERT_EQ(recording.lanes.size(), 1u);
  EXPECT_EQ(recording.lanes[0].name, "main");
  EXPECT_TRUE(recording.lanes[0].events.empty());
  { const TimelineSpan after("after", SpanKind::kStage); }
  Timeline::count("after", {"n", 1});
  const TimelineRecording nothing = Timeline::stop();
  EXPECT_TRUE(nothing.lanes.empty());
  EXPECT_TRUE(nothing.counters.empty());
}

TEST(Timeline, NestsAndSumsUpWhatIsInside) {
  Timeline::start();
  {
    const TimelineSpan stage("stage", SpanKind::kStage, {"token", 7});
    for (int i = 0; i < 2; ++i) {
      TimelineSpan kernel("kernel", SpanKind::kKernel);
      EXPECT_STREQ(Timeline::at_work(), "kernel");
      kernel.tell({.shape = {{{"m", 2}, {"n", 3}}}, .dtype = "bf16", .flop = 12, .bytes = 100});
    }
    EXPECT_STREQ(Timeline::at_work(), "stage");
  }
  const TimelineRecording recording = Timeline::stop();
  const auto& events = recording.lanes[0].events;
  ASSERT_EQ(events.size(), 3u);
  expect_nested(recording.lanes[0]);
  EXPECT_EQ(events[0].flop, 12);
  ASSERT_EQ(recording.lanes[0].facts.size(), 2u);
  EXPECT_EQ(events[1].facts, 1);
  EXPECT_EQ(recording.lanes[0].facts[1].shape[1].value, 3);
  EXPECT_STREQ(recording.lanes[0].facts[1].dtype, "bf16");
  const TimelineEvent& stage = events[2];
  EXPECT_STREQ(stage.name, "stage");
  EXPECT_EQ(stage.flop, 24);
  EXPECT_EQ(stage.bytes, 200);
  EXPECT_STREQ(stage.index.name, "token");
  EXPECT_EQ(stage.index.value, 7);
  EXPECT_EQ(stage.facts, -1);
  EXPECT_GE(stage.begin_ns, recording.begin_ns);
}

TEST(Timeline, ASpanThatOutlivesItsRecordingIsInNone) {
  Timeline::start();
  auto old = std::make_unique<TimelineSpan>("old", SpanKind::kStage);
  old->tell({.dtype = "f32"});
  EXPECT_TRUE(Timeline::stop().lanes[0].events.empty());
  Timeline::start();
  old.reset();
  EXPECT_TRUE(Timeline::stop().lanes[0].events.empty());
}

TEST(Timeline, EveryThreadHasALaneAndThoseOfOneNameInTurnShareOne) {
  Timeline::start();
  const auto work = [](const char* name, int number, int spans) {
    const TimelineLane named(name, number);
    for (int i = 0; i < spans; ++i) const TimelineSpan span("work", SpanKind::kStage);
  };
  std::thread(work, "reader", 0, 1000).join();
  std::thread(work, "reader", 0, 500).join();
  std::thread one(work, "team", 1, 10), two(work, "team", 2, 20);
  one.join();
  two.join();
  const TimelineRecording recording = Timeline::stop();
  ASSERT_EQ(recording.lanes.size(), 4u);
  ASSERT_NE(lane(recording, "reader"), nullptr);
  EXPECT_EQ(lane(recording, "reader")->events.size(), 1500u);
  expect_nested(*lane(recording, "team 1"));
  ASSERT_NE(lane(recording, "team 2"), nullptr);
  EXPECT_EQ(lane(recording, "team 2")->events.size(), 20u);
}

TEST(Timeline, ThreadsOfOneNameAtATimeHaveLanesOfTheirOwn) {
  Timeline::start();
  const auto begin_and = [](const auto& then) {
    const TimelineLane named("reader");
    { const TimelineSpan span("work", SpanKind::kStage); }
    then();
  };
  std::thread([&] { begin_and([&] { std::thread([&] { begin_and([] {}); }).join(); }); }).join();
  const TimelineRecording recording = Timeline::stop();
  ASSERT_NE(lane(recording, "reader"), nullptr);
  ASSERT_NE(lane(recording, "reader (2)"), nullptr);
  EXPECT_EQ(lane(recording, "reader (2)")->events.size(), 1u);
}

TEST(Timeline, AThreadWithoutALaneIsNotRecorded) {
  Timeline::start();
  std::thread([] { const TimelineSpan span("work", SpanKind::kStage); }).join();
  const TimelineLane other("other");  // this thread has one
  { const TimelineSpan span("mine", SpanKind::kStage); }
  const TimelineRecording recording = Timeline::stop();
  ASSERT_EQ(recording.lanes.size(), 1u);
  EXPECT_EQ(recording.lanes[0].name, "main");
  ASSERT_EQ(recording.lanes[0].events.size(), 1u);
  EXPECT_STREQ(recording.lanes[0].events[0].name, "mine");
}

TEST(Timeline, ThreadsMayEndSpansWhileItStops) {
  for (int round = 0; round < 20; ++round) {
    Timeline::start();
    std::atomic<bool> begun{false}, done{false};
    std::thread busy([&] {
      const TimelineLane named("busy");
      for (; !done; begun = true) {
        TimelineSpan span("work", SpanKind::kKernel);
        span.tell({.flop = 1});
        Timeline::count("n", {"n", 1});
      }
    });
    while (!begun) std::this_thread::yield();
    const TimelineRecording recording = Timeline::stop();
    done = true;
    busy.join();
    ASSERT_NE(lane(recording, "busy"), nullptr);
    EXPECT_FALSE(lane(recording, "busy")->events.empty());
    for (const auto& one : recording.lanes) {
      ASSERT_EQ(one.facts.size(), one.events.size());
      for (const TimelineEvent& e : one.events) {
        EXPECT_EQ(one.facts.at(static_cast<std::size_t>(e.facts)).flop, e.flop);
      }
    }
  }
}

TEST(Timeline, WhatThereIsNoRoomForIsCountedAndStagesHaveMoreOfIt) {
  Timeline::start(/*most_events=*/32);
  {
    const TimelineSpan stage("around", SpanKind::kStage);
    for (int i = 0; i < 40; ++i) const TimelineSpan span("kernel", SpanKind::kKernel);
  }
  const TimelineRecording recording = Timeline::stop();
  const auto& events = recording.lanes[0].events;
  EXPECT_STREQ(events.back().name, "around");
  // The stage's look at the memory is an event too; at its end there may be no room for another.
  const auto kernels = std::ssize(events) - 1;
  EXPECT_EQ(kernels + std::ssize(recording.counters), 32);
  EXPECT_GE(recording.dropped, 40 - kernels);
  EXPECT_LE(recording.dropped, 40 - kernels + 1);
  Timeline::start();
  EXPECT_EQ(Timeline::stop().dropped, 0);
}

TEST(Timeline, SharesOfALoopBearTheNameOfWhatRunsIt) {
  set_num_threads(3);
  Timeline::start();
  {
    const TimelineSpan operation("llm.mlp", SpanKind::kOperation);
    const TimelineSpan kernel("matmul", SpanKind::kKernel);
    parallel_for(300, 1, [](std::int64_t, std::int64_t) {});
  }
  const TimelineRecording recording = Timeline::stop();
  set_num_threads(0);
  std::size_t shares = 0;
  for (const auto& one : recording.lanes) {
    for (const TimelineEvent& e : one.events) {
      if (e.kind != SpanKind::kShare) continue;
      EXPECT_STREQ(e.name, "llm.mlp");
      ++shares;
    }
  }
  EXPECT_EQ(shares, 3u);
  ASSERT_NE(lane(recording, "OpenMP worker 1"), nullptr);
  ASSERT_NE(lane(recording, "OpenMP worker 2"), nullptr);
}

TEST(Timeline, TimesOfOthersAreCutToWhatCanBe) {
  Timeline::start();
  const std::int64_t now = Timeline::now_ns();
  const std::int64_t hour = 3'600'000'000'000;
  Timeline::add("other", "frame", {"frame", 0}, now - hour, now);
  Timeline::add("other", "frame", {"frame", 1}, now - hour, now);         // all of it over already
  Timeline::add("other", "frame", {"frame", 2}, now + hour, now - hour);  // ends before it begins
  Timeline::add("other", "frame", {"frame", 3}, now, now + hour);
  Timeline::add("other", "frame", {"frame", 4}, std::numeric_limits<std::int64_t>::min(),
                std::numeric_limits<std::int64_t>::max());
  const TimelineRecording recording = Timeline::stop();
  const std::int64_t end = Timeline::now_ns();
  ASSERT_NE(lane(recording, "other"), nullptr);
  const auto& events = lane(recording, "other")->events;
  std::vector<std::int64_t> frames;
  for (const TimelineEvent& e : events) {
    frames.push_back(e.index.value);
    EXPECT_GE(e.begin_ns, recording.begin_ns);
    EXPECT_GT(e.duration_ns, 0);
    EXPECT_LE(end_of(e), end);
  }
  EXPECT_EQ(std::count(frames.begin(), frames.end(), 0), 1);
  EXPECT_EQ(std::count(frames.begin(), frames.end(), 1), 0);
  EXPECT_EQ(std::count(frames.begin(), frames.end(), 2), 0);
  expect_nested(*lane(recording, "other"));
}

TEST(Timeline, TraceSpansAreSummedAndRecorded) {
  Trace trace;
  Timeline::start();
  {
    const Trace::Scope scope(&trace);
    for (int i = 0; i < 3; ++i) const TraceSpan span("llm.qkv");
  }
  const TimelineRecording recording = Timeline::stop();
  EXPECT_EQ(trace.totals().at("llm.qkv").count, 3);
  ASSERT_EQ(recording.lanes[0].events.size(), 3u);
  EXPECT_EQ(recording.lanes[0].events[0].kind, SpanKind::kOperation);
}

class TimelineFile : public testing::ScratchDirTest {
 protected:
  nlohmann::json written(const TimelineRecording& recording, const TimelineNotes& notes = {}) {
    write_timeline(recording, "reelm test", notes, dir_ / "trace.json");
    std::ifstream file(dir_ / "trace.json");
    return nlohmann::json::parse(file);
  }
};

TEST_F(TimelineFile, HoldsWhatWasRecorded) {
  TimelineRecording recording;
  recording.begin_ns = 1'000'000;
  recording.dropped = 5;
  auto& main = recording.lanes.emplace_back();
  main.name = "main";
  main.facts.push_back({.shape = {{{"m", 2}, {"n", 3}, {"k", 4}}},
                        .dtype = "bf16",
                        .kernel = "few_rows",
                        .isa = "avx2"});
  // In the order they ended: the inner one first.
  main.events.push_back({.name = "matmul",
                         .begin_ns = 1'000'500,
                         .duration_ns = 1'250,
                         .flop = 48,
                         .bytes = 99,
                         .facts = 0,
                         .kind = SpanKind::kKernel});
  main.events.push_back({.name = "llm.layer",
                         .begin_ns = 1'000'500,
                         .duration_ns = 2'000'001,
                         .flop = 48,
                         .index = {"layer", 3},
                         .kind = SpanKind::kLayer});
  recording.lanes.emplace_back().name = "read-ahead";
  recording.counters.push_back({"slices", 1'002'000, {{{"ready", 1}, {"empty", 0}}}});

  const nlohmann::json out = written(recording, {{"model", "a \"name\" \xff"}});
  EXPECT_EQ(out["otherData"]["dropped_events"], 5);
  EXPECT_EQ(out["otherData"]["model"], "a \"name\" \xef\xbf\xbd");
  std::map<int, std::string> lanes;
  std::vector<nlohmann::json> spans;
  nlohmann::json counter;
  for (const nlohmann::json& e : out["traceEvents"]) {
    if (e["name"] == "thread_name") lanes[e["tid"]] = e["args"]["name"];
    if (e["ph"] == "X") spans.push_back(e);
    if (e["ph"] == "C") counter = e;
  }
  EXPECT_EQ(lanes, (std::map<int, std::string>{{1, "main"}, {2, "read-ahead"}}));
  ASSERT_EQ(spans.size(), 2u);
  EXPECT_EQ(spans[0]["name"], "llm.layer");  // parents first
  EXPECT_EQ(spans[0]["cat"], "layer");
  EXPECT_DOUBLE_EQ(spans[0]["ts"], 0.5);
  EXPECT_DOUBLE_EQ(spans[0]["dur"], 2000.001);
  EXPECT_EQ(spans[0]["args"], (nlohmann::json{{"layer", 3}, {"flop", 48}}));
  EXPECT_EQ(spans[1]["args"], nlohmann::json::parse(R"({"shape": {"m": 2, "n": 3, "k": 4},
      "dtype": "bf16", "kernel": "few_rows", "isa": "avx2", "flop": 48, "bytes": 99})"));
  EXPECT_EQ(counter["args"], (nlohmann::json{{"ready", 1}, {"empty", 0}}));
  EXPECT_DOUBLE_EQ(counter["ts"], 2.0);
}

TEST_F(TimelineFile, IsWholeWhateverItsLength) {
  TimelineRecording recording;
  auto& main = recording.lanes.emplace_back();
  for (int i = 0; i < 20'000; ++i) {  // several of the pieces it is written in
    main.events.push_back({.name = "work", .begin_ns = i, .duration_ns = 1});
  }
  EXPECT_EQ(written(recording)["traceEvents"].size(), 20'000u + 3);
  recording.lanes.clear();
  EXPECT_EQ(written(recording)["traceEvents"].size(), 1u);  // process_name
}

TEST_F(TimelineFile, NamesAPathItCannotWrite) {
  try {
    write_timeline({}, "reelm", {}, dir_ / "nowhere" / "trace.json");
    FAIL() << "nothing was thrown";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find("nowhere/trace.json"), std::string::npos);
  }
}

}  // namespace
}  // namespace reelm
