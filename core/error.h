// The one exception type of the library, and the check for bugs.
#pragma once

#include <stdexcept>
#include <string>

namespace reelm {

/// Why an operation could not be done. Programs map these to exit codes; messages carry the detail.
enum class ErrorCode {
  kInvalidArgument,  ///< an option or a call is wrong: the caller can mend it
  kNotFound,         ///< a file, tensor or stream that must be there is not
  kIo,               ///< the operating system refused a read, a write or a map
  kFormat,           ///< bytes that are not what they claim to be
  kUnsupported,      ///< well formed, but nothing reelm can do
  kLimit,            ///< larger than a limit of `Limits` allows; the message names the limit
  kOutOfMemory,      ///< an allocation was refused
  kCancelled,        ///< the caller's cancel flag or deadline ended the work
};

/// "invalid argument", "not found", ... for logs.
const char* error_code_name(ErrorCode code) noexcept;

/// `text` as one line that a terminal can show: at most 4096 bytes, control characters as spaces.
/// For names and words out of files and other processes.
std::string one_line(std::string text);

/// Every input-dependent failure is thrown as this. `what()` is one line that names the thing
/// (file, tensor, stream, option), what was found and what was expected; see one_line().
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message)
      : std::runtime_error(one_line(message)), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

/// Throws Error{kOutOfMemory} "out of memory", made beforehand: works when nothing can be
/// allocated.
[[noreturn]] void throw_out_of_memory();

namespace internal {
[[noreturn]] void check_failed(const char* file, int line, const char* condition) noexcept;
}

}  // namespace reelm

/// A bug in reelm itself, never something an input can cause: prints the condition and aborts.
#define REELM_CHECK(condition) \
  ((condition) ? (void)0 : ::reelm::internal::check_failed(__FILE__, __LINE__, #condition))
