// Formatting a reelm::Error in place. Not installed: fmt stays out of public headers.
#pragma once

#include <fmt/format.h>

#include <utility>

#include "error.h"

namespace reelm {

/// Throws Error{code} with a formatted one-line message.
template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace reelm
