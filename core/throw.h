// Formatting a reelm::Error in place. Not installed: fmt stays out of public headers.
#pragma once

#include <fmt/format.h>

#include <new>
#include <utility>

#include "error.h"

namespace reelm {

/// Throws Error{code} with a formatted one-line message.
template <typename... Args>
[[noreturn]] void throw_error(ErrorCode code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// What fn() returns; std::bad_alloc leaves it as Error{kOutOfMemory}. Around the functions that
/// the library is entered by.
template <typename Fn>
decltype(auto) telling_out_of_memory(Fn&& fn) {
  try {
    return std::forward<Fn>(fn)();
  } catch (const std::bad_alloc&) {
    throw_out_of_memory();
  }
}

}  // namespace reelm
