#include "apps/program.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <exception>
#include <new>

#include "apps/interrupt.h"
#include "core/mapped_file.h"

namespace reelm::apps {

void say_error(const std::string& program, const std::string& message) {
  fmt::print(stderr, "{}: error: {}\n", program, one_line(message));
}

int fail(const std::string& program, const std::string& message, int code) {
  note_error_said();
  say_error(program, message);
  return code;
}

int exit_code(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return kExitUsage;
    case ErrorCode::kCancelled:
      return interrupted() ? kExitInterrupted : kExitFailed;
    default:
      return kExitFailed;
  }
}

int run_program(const std::string& program, const std::function<int()>& body) {
  try {
    (void)interrupt_token();
    guard_mapped_files();
    std::signal(SIGXFSZ, SIG_IGN);  // a file over ulimit -f: an error, as when the disk is full
    return body();
  } catch (const Error& e) {
    return fail(program, e.what(), exit_code(e.code()));
  } catch (const std::bad_alloc&) {
    return fail(program, "out of memory", kExitFailed);
  } catch (const std::exception& e) {
    return fail(program, e.what(), kExitFailed);
  }
}

}  // namespace reelm::apps
