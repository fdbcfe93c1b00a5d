#include "core/error.h"

#include <cstdio>
#include <cstdlib>

namespace reelm {

std::string one_line(std::string text) {
  constexpr std::size_t kMostBytes = 4096;
  if (text.size() > kMostBytes) {
    text.resize(kMostBytes - 3);
    text += "...";
  }
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return text;
}

const char* error_code_name(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument:
      return "invalid argument";
    case ErrorCode::kNotFound:
      return "not found";
    case ErrorCode::kIo:
      return "input/output error";
    case ErrorCode::kFormat:
      return "malformed data";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kLimit:
      return "limit exceeded";
    case ErrorCode::kOutOfMemory:
      return "out of memory";
    case ErrorCode::kCancelled:
      return "cancelled";
  }
  return "unknown";
}

namespace {
const Error kOutOfMemoryError(ErrorCode::kOutOfMemory, "out of memory");
}

// A copy of an exception shares its text.
void throw_out_of_memory() { throw Error(kOutOfMemoryError); }

namespace internal {
void check_failed(const char* file, int line, const char* condition) noexcept {
  std::fprintf(stderr, "reelm: bug: %s:%d: check failed: %s\n", file, line, condition);
  std::abort();
}
}  // namespace internal

}  // namespace reelm
