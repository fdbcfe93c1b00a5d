#include "preprocess/resize_weights.h"

#include <algorithm>
#include <cmath>

namespace reelm::preprocess {
namespace {

// Keys' cubic with a = -0.5, support 2. torch's kernels are compiled with FMA, where GCC fuses
// every product that is added to something: written out here because this project compiles with
// -ffp-contract=off.
template <typename T>
T cubic_fused(T x) {
  x = std::abs(x);
  if (x < T(1)) return std::fma(std::fma(T(1.5), x, T(-2.5)) * x, x, T(1));
  if (x < T(2)) return std::fma(std::fma(std::fma(T(-0.5), x, T(2.5)), x, T(-4)), x, T(2));
  return T(0);
}

// Pillow's bicubic_filter: plain SSE2 arithmetic, and a different order of terms.
double cubic_pil(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

struct Window {
  std::int64_t first = 0;
  std::int64_t count = 0;
};

// T is the type the reference keeps its weights in; sums with the literal 0.5 are double in both.
template <typename T>
Window fill_weights(std::int64_t i, std::int64_t in, T scale, T support, std::int64_t max_taps,
                    T (*filter)(T), T* weights) {
  const T center = static_cast<T>(static_cast<double>(scale) * (static_cast<double>(i) + 0.5));
  const T inverse = scale >= T(1) ? static_cast<T>(1.0 / static_cast<double>(scale)) : T(1);
  const auto low =
      static_cast<std::int64_t>(static_cast<double>(static_cast<T>(center - support)) + 0.5);
  const auto high =
      static_cast<std::int64_t>(static_cast<double>(static_cast<T>(center + support)) + 0.5);
  Window window;
  window.first = std::max<std::int64_t>(low, 0);
  window.count = std::clamp<std::int64_t>(std::min(high, in) - window.first, 0, max_taps);
  T total = 0;
  for (std::int64_t k = 0; k < window.count; ++k) {
    const T offset = static_cast<T>(k + window.first) - center;
    weights[k] =
        filter(static_cast<T>((static_cast<double>(offset) + 0.5) * static_cast<double>(inverse)));
    total += weights[k];
  }
  if (total != T(0)) {
    for (std::int64_t k = 0; k < window.count; ++k) weights[k] /= total;
  }
  return window;
}

std::int32_t to_fixed(double weight, int precision) {
  const double v = weight * static_cast<double>(1 << precision);
  return static_cast<std::int32_t>(v < 0 ? v - 0.5 : v + 0.5);
}

// torch gives the weights as many fraction bits as the largest of them leaves room for in 16 bits.
int int16_precision(double largest) {
  int precision = 0;
  for (; precision < 22; ++precision) {
    const int next = static_cast<int>(0.5 + largest * static_cast<double>(1 << (precision + 1)));
    if (next >= (1 << 15)) break;
  }
  return precision;
}

template <typename T>
std::vector<T> fill_bank(FilterBank& bank, std::int64_t in, T (*filter)(T)) {
  const T scale = static_cast<T>(in) / static_cast<T>(bank.n);
  const T support = scale >= T(1) ? static_cast<T>(2.0 * static_cast<double>(scale)) : T(2);
  const auto max_taps = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  bank.stride = (max_taps + 1) / 2 * 2;
  std::vector<T> weights(static_cast<std::size_t>(bank.n * bank.stride), T(0));
  for (std::int64_t i = 0; i < bank.n; ++i) {
    const Window window =
        fill_weights<T>(i, in, scale, support, max_taps, filter, weights.data() + i * bank.stride);
    bank.first[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(window.first);
    bank.count[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(window.count);
  }
  return weights;
}

}  // namespace

FilterBank make_filter_bank(std::int64_t in, std::int64_t out, ResizeMode mode) {
  FilterBank bank;
  bank.n = out;
  bank.first.resize(static_cast<std::size_t>(out));
  bank.count.resize(static_cast<std::size_t>(out));
  if (mode == ResizeMode::kTorchFloat) {
    bank.f32 = fill_bank<float>(bank, in, &cubic_fused<float>);
    return bank;
  }
  const std::vector<double> weights = mode == ResizeMode::kPil
                                          ? fill_bank<double>(bank, in, &cubic_pil)
                                          : fill_bank<double>(bank, in, &cubic_fused<double>);
  if (mode == ResizeMode::kPil) {
    bank.precision = 22;  // 32 bits less 8 of the pixel less 2 for overshoot
  } else {
    bank.precision = int16_precision(*std::max_element(weights.begin(), weights.end()));
  }
  bank.i32.resize(weights.size());
  for (std::size_t k = 0; k < weights.size(); ++k) {
    bank.i32[k] = to_fixed(weights[k], bank.precision);
  }
  return bank;
}

}  // namespace reelm::preprocess
