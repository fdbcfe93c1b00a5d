// What every program does around its work: one line for a failure, and an exit code.
#pragma once

#include <functional>
#include <string>

#include "core/error.h"

namespace reelm::apps {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;  // as a shell reports SIGINT

/// "PROGRAM: error: ..." on standard error, one line whatever the message holds (file names may
/// hold anything).
void say_error(const std::string& program, const std::string& message);

/// The same as the last thing the program says; returns `code`.
int fail(const std::string& program, const std::string& message, int code);

/// kExitUsage for kInvalidArgument, kExitInterrupted for kCancelled by a signal, else kExitFailed.
int exit_code(ErrorCode code) noexcept;

/// The whole of main(): catches Ctrl-C and what `body` throws, and guards mapped files.
int run_program(const std::string& program, const std::function<int()>& body);

}  // namespace reelm::apps
