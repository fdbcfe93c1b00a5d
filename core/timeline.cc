#include "core/timeline.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <mutex>
#include <utility>

namespace reelm {

std::atomic<bool> Timeline::on_{false};

namespace internal {
struct OpenLane {
  const char* name = nullptr;
  int number = 0;
  bool taken = true;  // by a thread; guarded by the recorder's mutex
  std::mutex mutex;   // of what follows: the thread's, and stop()'s
  bool closed = false;
  TimelineRecording::Lane record;
};
}  // namespace internal

namespace {

using internal::OpenLane;

// Between two looks at the memory in use, which take 5 us each.
constexpr std::int64_t kMemoryEveryNs = 2'000'000;

/// All there is of the recorder but whether it is on.
struct Recorder {
  std::mutex mutex;  // of lanes and counters
  std::vector<std::shared_ptr<OpenLane>> lanes;
  std::deque<TimelineCounter> counters;
  std::atomic<std::uint64_t> generation{0};  // counts recordings
  std::atomic<std::int64_t> begin_ns{0};
  std::atomic<std::int64_t> next_memory_ns{0};
  std::atomic<std::size_t> most{0}, kept{0};
  std::atomic<std::int64_t> dropped{0};

  bool has_room(SpanKind kind) noexcept {
    const std::size_t limit = most.load(std::memory_order_relaxed);
    const std::size_t allowed = kind == SpanKind::kStage ? limit + limit / 16 : limit;
    if (kept.load(std::memory_order_relaxed) < allowed) {
      kept.fetch_add(1, std::memory_order_relaxed);
      return true;
    }
    dropped.fetch_add(1, std::memory_order_relaxed);
    return false;
  }
};

Recorder& recorder() {
  // Never destroyed: threads may end after main().
  static Recorder& instance = *new Recorder;
  return instance;
}

/// Nothing to destroy: registering that takes memory, and the C library ends the process where
/// there is none.
struct ThisThread {
  TimelineSpan* innermost = nullptr;
  OpenLane* lane = nullptr;  // its TimelineLane's; of the thread that records: the recorder's
  std::uint64_t generation = 0;
};
thread_local constinit ThisThread t_this;

std::string lane_title(const Recorder& r, const char* name, int number) {
  const std::string title = number > 0 ? fmt::format("{} {}", name, number) : name;
  const auto same = std::count_if(r.lanes.begin(), r.lanes.end(), [&](const auto& lane) {
    return std::string_view(lane->name) == name && lane->number == number;
  });
  return same > 0 ? fmt::format("{} ({})", title, same + 1) : title;
}

/// A lane of that name which no thread has now, else a new one. With the recorder's mutex held.
std::shared_ptr<OpenLane> take_lane(Recorder& r, const char* name, int number) {
  for (const std::shared_ptr<OpenLane>& lane : r.lanes) {
    if (lane->taken || std::string_view(lane->name) != name || lane->number != number) continue;
    lane->taken = true;
    return lane;
  }
  auto lane = std::make_shared<OpenLane>();
  lane->name = name;
  lane->number = number;
  lane->record.name = lane_title(r, name, number);
  r.lanes.push_back(lane);
  return lane;
}

/// Null: the thread has none in this recording.
OpenLane* lane_of_this_thread() noexcept {
  const bool current = t_this.generation == recorder().generation.load(std::memory_order_acquire);
  return current ? t_this.lane : nullptr;
}

void note_memory(std::int64_t now) noexcept {
  Recorder& r = recorder();
  std::int64_t due = r.next_memory_ns.load(std::memory_order_relaxed);
  if (now < due || !r.next_memory_ns.compare_exchange_strong(due, now + kMemoryEveryNs)) return;
  const int fd = ::open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  char text[128];
  const ssize_t n = ::read(fd, text, sizeof text);
  ::close(fd);
  const char* const end = text + std::max<ssize_t>(n, 0);
  const char* const resident = std::find(static_cast<const char*>(text), end, ' ');
  std::int64_t pages = 0;
  if (resident == end || std::from_chars(resident + 1, end, pages).ec != std::errc()) return;
  Timeline::count("memory", {"resident_bytes", pages * ::sysconf(_SC_PAGESIZE)});
}

bool shows_memory(SpanKind kind) { return kind == SpanKind::kStage || kind == SpanKind::kLayer; }

}  // namespace

const char* span_kind_name(SpanKind kind) noexcept {
  switch (kind) {
    case SpanKind::kStage:
      return "stage";
    case SpanKind::kLayer:
      return "layer";
    case SpanKind::kOperation:
      return "operation";
    case SpanKind::kKernel:
      return "kernel";
    case SpanKind::kShare:
      return "share";
    case SpanKind::kWait:
      return "wait";
  }
  return "?";
}

std::int64_t Timeline::now_ns() noexcept {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

void Timeline::start(std::size_t most_events) {
  (void)stop();
  Recorder& r = recorder();
  const std::lock_guard<std::mutex> lock(r.mutex);
  r.most = most_events;
  r.kept = 0;
  r.dropped = 0;
  r.begin_ns = now_ns();
  r.next_memory_ns = 0;
  t_this.lane = take_lane(r, lanes::kMain, 0).get();
  t_this.generation = r.generation.fetch_add(1, std::memory_order_release) + 1;
  on_ = true;
}

TimelineRecording Timeline::stop() {
  on_ = false;
  Recorder& r = recorder();
  TimelineRecording out;
  const std::lock_guard<std::mutex> lock(r.mutex);
  out.lanes.reserve(r.lanes.size());
  for (const std::shared_ptr<OpenLane>& lane : r.lanes) {
    const std::lock_guard<std::mutex> lane_lock(lane->mutex);
    lane->closed = true;  // a span that saw the recording on may still come
    out.lanes.push_back(std::move(lane->record));
  }
  r.lanes.clear();
  t_this.lane = nullptr;
  out.counters = std::exchange(r.counters, {});
  out.begin_ns = r.begin_ns;
  out.dropped = r.dropped;
  return out;
}

void Timeline::note_count(const char* name, NamedNumber first, NamedNumber second) noexcept {
  Recorder& r = recorder();
  if (!r.has_room(SpanKind::kKernel)) return;
  try {
    const std::lock_guard<std::mutex> lock(r.mutex);
    r.counters.push_back({name, now_ns(), {first, second}});
  } catch (...) {
    ++r.dropped;
  }
}

void Timeline::add(const char* lane_name, const char* name, NamedNumber index,
                   std::int64_t begin_ns, std::int64_t end_ns) noexcept {
  if (!on()) return;
  Recorder& r = recorder();
  try {
    const std::lock_guard<std::mutex> lock(r.mutex);
    const auto found = std::find_if(r.lanes.begin(), r.lanes.end(), [&](const auto& lane) {
      return std::string_view(lane->name) == lane_name;
    });
    OpenLane& lane = found != r.lanes.end() ? **found : *take_lane(r, lane_name, 0);
    auto& events = lane.record.events;
    const std::int64_t free_from =
        events.empty() ? r.begin_ns.load() : events.back().begin_ns + events.back().duration_ns;
    const std::int64_t begin = std::max(begin_ns, free_from);
    const std::int64_t end = std::min(end_ns, now_ns());
    if (begin >= end || !r.has_room(SpanKind::kStage)) return;
    events.push_back({.name = name, .begin_ns = begin, .duration_ns = end - begin, .index = index});
  } catch (...) {
    ++r.dropped;
  }
}

const char* Timeline::at_work() noexcept {
  const TimelineSpan* span = t_this.innermost;
  if (span == nullptr) return nullptr;
  const TimelineSpan* around = span->open_->parent;
  const bool in_operation = span->open_->event.kind == SpanKind::kKernel && around != nullptr &&
                            around->open_->event.kind == SpanKind::kOperation;
  return (in_operation ? around : span)->open_->event.name;
}

TimelineLane::TimelineLane(const char* name, int number) noexcept {
  if (!Timeline::on() || lane_of_this_thread() != nullptr) return;
  Recorder& r = recorder();
  try {
    const std::lock_guard<std::mutex> lock(r.mutex);
    lane_ = take_lane(r, name, number);
    t_this.lane = lane_.get();
    t_this.generation = r.generation;
  } catch (...) {  // its spans are not recorded
  }
}

TimelineLane::~TimelineLane() {
  if (lane_ == nullptr) return;
  t_this.lane = nullptr;
  const std::lock_guard<std::mutex> lock(recorder().mutex);
  lane_->taken = false;
}

void TimelineSpan::begin(const char* name, SpanKind kind, NamedNumber index) noexcept {
  open_.emplace();
  open_->parent = std::exchange(t_this.innermost, this);
  TimelineEvent& event = open_->event;
  event.name = name;
  event.kind = kind;
  event.index = index;
  event.begin_ns = Timeline::now_ns();
  if (shows_memory(kind)) note_memory(event.begin_ns);
}

void TimelineSpan::tell(const SpanFacts& facts) noexcept {
  if (!open_) return;
  open_->facts = facts;
  open_->told = true;
  open_->event.flop += facts.flop;
  open_->event.bytes += facts.bytes;
}

void TimelineSpan::end() noexcept {
  TimelineEvent& event = open_->event;
  const std::int64_t now = Timeline::now_ns();
  event.duration_ns = now - event.begin_ns;
  t_this.innermost = open_->parent;
  if (open_->parent != nullptr) {
    open_->parent->open_->event.flop += event.flop;
    open_->parent->open_->event.bytes += event.bytes;
  }
  Recorder& r = recorder();
  OpenLane* const lane = Timeline::on() ? lane_of_this_thread() : nullptr;
  // Begun in an earlier recording, it belongs to none.
  if (lane == nullptr || event.begin_ns < r.begin_ns) return;
  if (shows_memory(event.kind)) note_memory(now);
  if (!r.has_room(event.kind)) return;
  try {
    const std::lock_guard<std::mutex> lock(lane->mutex);
    if (lane->closed) return;
    if (open_->told) {
      event.facts = std::ssize(lane->record.facts);
      lane->record.facts.push_back(open_->facts);
    }
    lane->record.events.push_back(event);
  } catch (...) {
    ++r.dropped;
  }
}

}  // namespace reelm
