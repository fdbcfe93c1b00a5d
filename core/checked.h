// Arithmetic on sizes that come from files: overflow is an error, never a wrap.
#pragma once

#include <concepts>
#include <type_traits>

#include "error.h"

namespace reelm {

/// a * b, or Error{kLimit} naming `what` when the product does not fit T.
template <std::integral T>
T checked_mul(T a, std::type_identity_t<T> b, const char* what) {
  T out;
  if (__builtin_mul_overflow(a, b, &out)) {
    throw Error(ErrorCode::kLimit, std::string(what) + ": size overflows");
  }
  return out;
}

/// a + b, or Error{kLimit} naming `what` when the sum does not fit T.
template <std::integral T>
T checked_add(T a, std::type_identity_t<T> b, const char* what) {
  T out;
  if (__builtin_add_overflow(a, b, &out)) {
    throw Error(ErrorCode::kLimit, std::string(what) + ": size overflows");
  }
  return out;
}

}  // namespace reelm
