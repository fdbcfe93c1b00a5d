#include "core/timeline_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/pending_file.h"

namespace reelm {

namespace {

// Written at a time; an event takes some 200 bytes.
constexpr std::size_t kPiece = std::size_t{1} << 20;

/// Text from outside (file names, versions) as JSON. Names of spans need none of it.
std::string quoted(const std::string& text) {
  using nlohmann::json;
  return json(text).dump(-1, ' ', false, json::error_handler_t::replace);
}

class EventWriter {
 public:
  EventWriter(const std::filesystem::path& path, std::int64_t begin_ns)
      : file_(path), begin_ns_(begin_ns), process_(::getpid()) {}

  void header(const TimelineNotes& notes, std::int64_t dropped) {
    put("{{\"displayTimeUnit\":\"ms\",\"otherData\":{{");
    for (const auto& [key, value] : notes) put("{}:{},", quoted(key), quoted(value));
    put("\"dropped_events\":{}}},\n\"traceEvents\":[", dropped);
  }
  void process_name(const std::string& name) {
    open('M', 0, "process_name");
    put(",\"args\":{{\"name\":{}}}}}", quoted(name));
  }
  void lane(std::size_t number, const TimelineRecording::Lane& lane) {
    open('M', number, "thread_name");
    put(",\"args\":{{\"name\":{}}}}}", quoted(lane.name));
    open('M', number, "thread_sort_index");
    put(",\"args\":{{\"sort_index\":{}}}}}", number);
    for (const TimelineEvent* event : sorted(lane)) span(number, lane, *event);
  }
  void counter(const TimelineCounter& counter) {
    open('C', 0, counter.name);
    put(",\"ts\":{}", microseconds(counter.ns - begin_ns_));
    begin_args();
    for (const NamedNumber& value : counter.values) number(value);
    end_args();
    put("}}");
  }
  void finish() {
    put("\n]}}\n");
    flush();
    file_.commit();
  }

 private:
  /// By their beginnings; of two that begin at once the one around the other, which ended last.
  static std::vector<const TimelineEvent*> sorted(const TimelineRecording::Lane& lane) {
    std::vector<const TimelineEvent*> out;
    for (auto it = lane.events.rbegin(); it != lane.events.rend(); ++it) out.push_back(&*it);
    std::stable_sort(out.begin(), out.end(), [](const TimelineEvent* a, const TimelineEvent* b) {
      return a->begin_ns != b->begin_ns ? a->begin_ns < b->begin_ns
                                        : a->duration_ns > b->duration_ns;
    });
    return out;
  }

  void span(std::size_t lane_number, const TimelineRecording::Lane& lane,
            const TimelineEvent& event) {
    open('X', lane_number, event.name);
    put(",\"cat\":\"{}\",\"ts\":{},\"dur\":{}", span_kind_name(event.kind),
        microseconds(event.begin_ns - begin_ns_), microseconds(event.duration_ns));
    begin_args();
    number(event.index);
    if (event.facts >= 0) facts(lane.facts[static_cast<std::size_t>(event.facts)]);
    if (event.flop > 0) number({"flop", event.flop});
    if (event.bytes > 0) number({"bytes", event.bytes});
    end_args();
    put("}}");
  }

  void facts(const SpanFacts& facts) {
    if (facts.shape[0].name != nullptr) {
      key("shape");
      put("{{");
      first_ = true;
      for (const NamedNumber& size : facts.shape) number(size);
      put("}}");
      first_ = false;
    }
    word("dtype", facts.dtype);
    word("kernel", facts.kernel);
    word("isa", facts.isa);
    word("waits_for", facts.waits_for);
  }

  void open(char phase, std::size_t lane, const char* name) {
    put("{}{{\"ph\":\"{}\",\"pid\":{},\"tid\":{},\"name\":\"{}\"", events_++ == 0 ? "\n" : ",\n",
        phase, process_, lane, name);
  }
  void begin_args() {
    put(",\"args\":{{");
    first_ = true;
  }
  void end_args() { put("}}"); }
  void key(const char* name) {
    put("{}\"{}\":", first_ ? "" : ",", name);
    first_ = false;
  }
  void number(const NamedNumber& value) {
    if (value.name == nullptr) return;
    key(value.name);
    put("{}", value.value);
  }
  void word(const char* name, const char* value) {
    if (value == nullptr) return;
    key(name);
    put("\"{}\"", value);
  }
  static std::string microseconds(std::int64_t ns) {
    return fmt::format("{}.{:03}", ns / 1000, ns % 1000);
  }

  template <typename... Args>
  void put(fmt::format_string<Args...> format, Args&&... args) {
    fmt::format_to(std::back_inserter(text_), format, std::forward<Args>(args)...);
    if (text_.size() >= kPiece) flush();
  }
  void flush() {
    file_.write(text_.data(), text_.size());
    text_.clear();
  }

  PendingFile file_;
  std::int64_t begin_ns_;
  int process_;
  std::string text_;
  std::size_t events_ = 0;
  bool first_ = true;  // of the args or sizes that are being written
};

}  // namespace

void write_timeline(const TimelineRecording& recording, const std::string& process,
                    const TimelineNotes& notes, const std::filesystem::path& path) {
  EventWriter out(path, recording.begin_ns);
  out.header(notes, recording.dropped);
  out.process_name(process);
  for (std::size_t i = 0; i < recording.lanes.size(); ++i) out.lane(i + 1, recording.lanes[i]);
  for (const TimelineCounter& counter : recording.counters) out.counter(counter);
  out.finish();
}

}  // namespace reelm
