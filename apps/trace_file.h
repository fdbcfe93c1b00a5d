// --trace FILE.json: what a command did when, for Perfetto and tools/trace_summary.py.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace reelm::apps {

class TraceOption {
 public:
  void add_to(CLI::App& app);

  /// Runs `work`; with --trace recorded under the name `command`, and the recording written once
  /// it has ended, by an exception too. Returns what `work` returns. Throws what it throws; and
  /// Error{kIo}, before any work, when the file could not be written.
  int run(const std::string& command, const std::function<int()>& work) const;

 private:
  std::string path_;  // empty: no trace
};

}  // namespace reelm::apps
