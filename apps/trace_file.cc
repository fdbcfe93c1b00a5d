#include "apps/trace_file.h"

#include <fmt/format.h>

#include "apps/output.h"
#include "core/parallel.h"
#include "core/timeline.h"
#include "core/timeline_file.h"
#include "core/version.h"
#include "kernels/isa.h"

namespace reelm::apps {

namespace {

void write(const std::string& command, std::string_view isa, const std::string& path) {
  const TimelineRecording recording = Timeline::stop();
  const TimelineNotes notes = {{"version", version()},
                               {"command", command},
                               {"threads", std::to_string(num_threads())},
                               {"isa", std::string(isa)}};
  write_timeline(recording, "reelm " + command, notes, path);
  if (recording.dropped > 0) {
    warn(fmt::format("{}: the trace is full, {} later events are not in it", path,
                     recording.dropped));
  }
}

}  // namespace

void TraceOption::add_to(CLI::App& app) {
  app.add_option("--trace", path_,
                 "record what every thread did when into this JSON file (Perfetto, "
                 "tools/trace_summary.py)")
      ->check([](const std::string& path) { return path.empty() ? "expected a file name" : ""; })
      ->type_name("FILE.json");
}

int TraceOption::run(const std::string& command, const std::function<int()>& work) const {
  if (path_.empty()) return work();
  check_writable(path_);
  const std::string_view isa = kernels::isa_name(kernels::active_isa());
  Timeline::start();
  int code = 0;
  try {
    const TimelineSpan whole(command.c_str(), SpanKind::kStage);
    code = work();
  } catch (...) {
    try {
      write(command, isa, path_);
    } catch (const std::exception& e) {  // what ended the work is the error
      warn(e.what());
    }
    throw;
  }
  write(command, isa, path_);
  return code;
}

}  // namespace reelm::apps
