// Ctrl-C, SIGTERM and --timeout: how a program ends before its work is done.
#pragma once

#include <CLI/CLI.hpp>

#include "core/cancel.h"

namespace reelm::apps {

/// The token that Ctrl-C, SIGTERM and --timeout cancel; every stage polls it. What has not ended
/// 0.25 s after the signal (a decoder at a huge frame, an fsync) is ended by a timer: unfinished
/// files are removed and the process exits with kExitInterrupted. So does a second signal, at once.
CancelToken& interrupt_token();

/// Whether a signal came: kExitInterrupted, where a deadline that passed is kExitFailed.
bool interrupted() noexcept;

/// The program's error line is about to be written: the timer and a second signal write no other.
void note_error_said() noexcept;

/// --timeout SECONDS of a command that may run long.
struct TimeoutOption {
  double seconds = 0.0;  ///< 0: none

  void add_to(CLI::App& app);
  /// Sets the deadline of interrupt_token(), counted from now; with the same timer behind it.
  void start() const;
};

}  // namespace reelm::apps
