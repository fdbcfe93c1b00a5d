// --attention, --tune and --tune-file: which code kernels run, on every command that runs a model.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <string>

namespace reelm::apps {

class TuneOption {
 public:
  void add_to(CLI::App& app);

  /// Runs `work` with the choices asked for, stores what was measured, and returns what `work`
  /// returns; a command without the options just works. Warnings are printed unless `command` was
  /// given --quiet. Throws what `work` throws; and, before any work, Error{kIo} when choices could
  /// not be stored, {kNotFound} when the file that was named is not there.
  int run(const CLI::App& command, const std::function<int()>& work) const;

 private:
  std::string attention_ = "auto";
  std::string mode_ = "auto";
  std::string file_;  // empty: the default
};

}  // namespace reelm::apps
