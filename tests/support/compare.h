// The one way tests compare numbers: |actual - expected| <= atol + rtol * |expected|, written so
// that a NaN on either side fails.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace reelm::testing {

struct Tolerance {
  double atol = 0.0;
  double rtol = 0.0;
};

/// Whether one value is close enough. Infinities are close to themselves only.
inline bool is_close(double actual, double expected, Tolerance tolerance) {
  if (actual == expected) return true;
  if (std::isinf(actual) || std::isinf(expected)) return false;
  return std::abs(actual - expected) <= tolerance.atol + tolerance.rtol * std::abs(expected);
}

/// All elements, with a report of how many differ, the first and the worst. Sizes must agree.
template <typename T>
::testing::AssertionResult all_close(std::span<const T> actual, std::span<const T> expected,
                                     Tolerance tolerance) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << "sizes differ: " << actual.size() << " and " << expected.size();
  }
  std::size_t wrong = 0, first = 0, worst = 0;
  double worst_excess = -1.0;
  for (std::size_t i = 0; i < actual.size(); ++i) {
    const double a = static_cast<double>(actual[i]), e = static_cast<double>(expected[i]);
    if (is_close(a, e, tolerance)) continue;
    if (wrong++ == 0) first = i;
    const double excess =
        std::isnan(a - e) ? INFINITY : std::abs(a - e) - tolerance.rtol * std::abs(e);
    if (excess > worst_excess) {
      worst_excess = excess;
      worst = i;
    }
  }
  if (wrong == 0) return ::testing::AssertionSuccess();
  return ::testing::AssertionFailure()
         << wrong << " of " << actual.size() << " elements differ by more than " << tolerance.atol
         << " + " << tolerance.rtol << " * |expected|; first [" << first << "]: " << actual[first]
         << ", expected " << expected[first] << "; worst [" << worst << "]: " << actual[worst]
         << ", expected " << expected[worst];
}

/// For containers: all_close(a, b, {.atol = 1e-6}).
template <typename A, typename B>
::testing::AssertionResult all_close(const A& actual, const B& expected, Tolerance tolerance) {
  using T = std::remove_cv_t<typename A::value_type>;
  return all_close<T>(std::span<const T>(actual), std::span<const T>(expected), tolerance);
}

/// The same bytes, element by element: what "bitwise equal for any number of threads" means.
template <typename A, typename B>
::testing::AssertionResult all_equal_bits(const A& actual, const B& expected) {
  if (actual.size() != expected.size()) {
    return ::testing::AssertionFailure()
           << "sizes differ: " << actual.size() << " and " << expected.size();
  }
  for (std::size_t i = 0; i < actual.size(); ++i) {
    if (std::memcmp(&actual[i], &expected[i], sizeof(actual[i])) != 0) {
      return ::testing::AssertionFailure() << "bits differ at [" << i << "] of " << actual.size();
    }
  }
  return ::testing::AssertionSuccess();
}

}  // namespace reelm::testing
