// What happened when, in which thread, while somebody records it: the spans of `--trace`.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace reelm {

/// How wide a span is; spans of a thread nest in about this order.
enum class SpanKind : std::uint8_t {
  kStage,      ///< a stage of the work: "vision", "prefill"
  kLayer,      ///< one layer of a model; its number is the span's index
  kOperation,  ///< a part of a layer, named as in the table of stages: "llm.qkv"
  kKernel,     ///< one call of a kernel
  kShare,      ///< what one thread does of a parallel loop; named as the span that runs the loop
  kWait,       ///< doing nothing until another lane has done something
};

/// "stage", "layer", "operation", "kernel", "share", "wait".
const char* span_kind_name(SpanKind kind) noexcept;

// All names below are plain (letters, digits, space and "._-+") and outlive the recording:
// literals.

/// A size, an index or a value, with what it is called.
struct NamedNumber {
  const char* name = nullptr;
  std::int64_t value = 0;
};

/// What is known of a kernel call or a wait.
struct SpanFacts {
  std::array<NamedNumber, 5> shape{};  ///< sizes, up to the first without a name
  const char* dtype = nullptr;         ///< of the weights, keys or pixels that are read
  const char* kernel = nullptr;        ///< which code was chosen
  const char* isa = nullptr;           ///< which instruction set it was compiled for
  std::int64_t flop = 0;               ///< a multiply and an add are two
  std::int64_t bytes = 0;              ///< operands read and results written, once each
  const char* waits_for = nullptr;     ///< of a wait: the lane that ends it
};

/// A span as recorded. flop and bytes hold those of the spans inside of it too.
struct TimelineEvent {
  const char* name = nullptr;
  std::int64_t begin_ns = 0;  ///< of std::chrono::steady_clock
  std::int64_t duration_ns = 0;
  std::int64_t flop = 0;
  std::int64_t bytes = 0;
  NamedNumber index{};      ///< {"layer", 3}; name null: none
  std::int64_t facts = -1;  ///< number among the lane's facts; -1: none
  SpanKind kind = SpanKind::kStage;
};

/// Values at a moment: bytes in memory, items in a queue.
struct TimelineCounter {
  const char* name = nullptr;
  std::int64_t ns = 0;
  std::array<NamedNumber, 2> values{};  ///< up to the first without a name
};

/// What was recorded. A lane is a thread's, or that of a process which told its times; threads of
/// one name that follow each other share one.
struct TimelineRecording {
  struct Lane {
    std::string name;
    std::deque<TimelineEvent> events;  ///< in the order they ended
    std::deque<SpanFacts> facts;
  };
  std::vector<Lane> lanes;  ///< in the order they began
  std::deque<TimelineCounter> counters;
  std::int64_t begin_ns = 0;
  std::int64_t dropped = 0;  ///< events there was no room for
};

/// The one recorder of the process, off unless started. Threads may come and go meanwhile.
class Timeline {
 public:
  /// Events kept at most: about 130 MB, the decoding of some 1,000 tokens by a model of 28 layers.
  static constexpr std::size_t kMostEvents = std::size_t{1} << 20;

  /// Forgets what was recorded and begins anew; the calling thread's lane is "main". Other threads
  /// are recorded where they have a TimelineLane. Once
  /// `most_events` are there further ones are only counted, but for stages: a sixteenth more of
  /// those fits, so that what surrounds the others is there too.
  static void start(std::size_t most_events = kMostEvents);
  /// Ends recording and hands out what there is. Spans that have not ended are not in it. To be
  /// called by the thread that started it.
  static TimelineRecording stop();
  /// Ends recording without a word: for a child process, which must not lock or free anything that
  /// another thread of its parent may have held.
  static void abandon() noexcept { on_.store(false, std::memory_order_relaxed); }
  static bool on() noexcept { return on_.load(std::memory_order_relaxed); }

  /// Notes values of now, when recording.
  static void count(const char* name, NamedNumber first, NamedNumber second = {}) noexcept {
    if (on()) note_count(name, first, second);
  }
  /// Notes a span of something else than a thread, which told its times (steady_clock): cut to what
  /// lies between the end of the lane's last one and now, dropped when nothing is left.
  static void add(const char* lane, const char* name, NamedNumber index, std::int64_t begin_ns,
                  std::int64_t end_ns) noexcept;
  /// What this thread is at: its innermost span, or the operation around a kernel; null: nothing.
  static const char* at_work() noexcept;
  /// Now, as events have it.
  static std::int64_t now_ns() noexcept;

 private:
  static void note_count(const char* name, NamedNumber first, NamedNumber second) noexcept;
  static std::atomic<bool> on_;
};

namespace internal {
struct OpenLane;
}

/// A lane of this thread's while the object lives, "name" or "name number" (from 1), if a recording
/// is on when it is made and the thread has none. No thread_local object in its place: those with a
/// destructor end the process when there is no memory.
class TimelineLane {
 public:
  explicit TimelineLane(const char* name, int number = 0) noexcept;
  ~TimelineLane();
  TimelineLane(const TimelineLane&) = delete;
  TimelineLane& operator=(const TimelineLane&) = delete;

 private:
  std::shared_ptr<internal::OpenLane> lane_;
};

class TimelineSpan;

namespace internal {
/// A span that is being recorded.
struct OpenSpan {
  TimelineEvent event{};
  SpanFacts facts{};
  bool told = false;  // facts were
  TimelineSpan* parent = nullptr;
};
}  // namespace internal

/// Records its own life when a recording is on; else costs one relaxed load. What there is no
/// memory for is counted as dropped.
class TimelineSpan {
 public:
  TimelineSpan(const char* name, SpanKind kind, NamedNumber index = {}) noexcept {
    if (Timeline::on()) begin(name, kind, index);
  }
  ~TimelineSpan() {
    if (open_) end();
  }
  TimelineSpan(const TimelineSpan&) = delete;
  TimelineSpan& operator=(const TimelineSpan&) = delete;

  /// Whether tell() is of use: facts need not be worked out otherwise.
  bool recorded() const noexcept { return open_.has_value(); }
  /// Facts of a recorded span; nothing otherwise. Once.
  void tell(const SpanFacts& facts) noexcept;

 private:
  friend class Timeline;
  void begin(const char* name, SpanKind kind, NamedNumber index) noexcept;
  void end() noexcept;

  std::optional<internal::OpenSpan> open_;
};

/// A wait for `lane` while the object lives.
class TimelineWait {
 public:
  TimelineWait(const char* name, const char* lane) noexcept : span_(name, SpanKind::kWait) {
    if (span_.recorded()) span_.tell({.waits_for = lane});
  }

 private:
  TimelineSpan span_;
};

/// Lanes that others wait for.
namespace lanes {
inline constexpr const char* kMain = "main";
inline constexpr const char* kReadAhead = "read-ahead";
inline constexpr const char* kTokenizer = "tokenizer";
inline constexpr const char* kRequestWorker = "request worker";
inline constexpr const char* kDecoderProcess = "decoder process";
inline constexpr const char* kWorker = "OpenMP worker";
}  // namespace lanes

}  // namespace reelm
