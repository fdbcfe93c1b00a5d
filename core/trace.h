// Where the time goes: named spans, summed by name, and recorded one by one (timeline.h).
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "timeline.h"

namespace reelm {

/// Sums of the spans of one thread's work. Not shared between threads.
class Trace {
 public:
  struct Total {
    double milliseconds = 0.0;
    std::int64_t count = 0;
  };

  void add(std::string_view name, double milliseconds) {
    auto it = totals_.find(name);
    if (it == totals_.end()) it = totals_.emplace(std::string(name), Total{}).first;
    it->second.milliseconds += milliseconds;
    ++it->second.count;
  }
  const std::map<std::string, Total, std::less<>>& totals() const noexcept { return totals_; }
  /// Milliseconds under `name`, 0 when it never ran.
  double milliseconds(std::string_view name) const {
    const auto it = totals_.find(name);
    return it == totals_.end() ? 0.0 : it->second.milliseconds;
  }

  /// Spans of this thread go to `trace` (or nowhere, when null) while the object lives.
  class Scope {
   public:
    explicit Scope(Trace* trace) noexcept : previous_(current_) { current_ = trace; }
    ~Scope() { current_ = previous_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Trace* previous_;
  };

  static Trace* current() noexcept { return current_; }

 private:
  static inline thread_local Trace* current_ = nullptr;
  std::map<std::string, Total, std::less<>> totals_;
};

/// Times its own life under `name`: for the Trace of this thread, and for a recording. Costs one
/// thread-local and one relaxed load when nobody listens. Where there is no memory to note the time
/// it is lost: a destructor must not throw.
class TraceSpan {
 public:
  explicit TraceSpan(const char* name, SpanKind kind = SpanKind::kOperation,
                     NamedNumber index = {}) noexcept
      : span_(name, kind, index), trace_(Trace::current()), name_(name) {
    if (trace_ != nullptr) begin_ = Clock::now();
  }
  ~TraceSpan() {
    if (trace_ == nullptr) return;
    try {
      trace_->add(name_, std::chrono::duration<double, std::milli>(Clock::now() - begin_).count());
    } catch (...) {
    }
  }
  TraceSpan(const TraceSpan&) = delete;
  TraceSpan& operator=(const TraceSpan&) = delete;

  /// As TimelineSpan::recorded and tell.
  bool recorded() const noexcept { return span_.recorded(); }
  void tell(const SpanFacts& facts) noexcept { span_.tell(facts); }

 private:
  using Clock = std::chrono::steady_clock;
  TimelineSpan span_;
  Trace* trace_;
  const char* name_;
  Clock::time_point begin_;
};

}  // namespace reelm
