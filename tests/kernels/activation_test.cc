#include "kernels/activation.h"

#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::Tolerance;

constexpr Tolerance kTolerance = {.atol = 5e-7, .rtol = 5e-7};

class Activations : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Activations);

TEST_P(Activations, SiluMulEveryLength) {
  std::vector<std::int64_t> sizes = lengths();
  sizes.push_back(8960);
  for (const std::int64_t d : sizes) {
    for (const std::int64_t m : {0, 1, 5}) {
      const std::int64_t stride = 2 * d + 3;
      std::vector<float> x = random_floats(m * stride + 1, 1, 8.0f);
      std::vector<float> y = random_floats(m * (d + 1) + 1, 2), expected = y;
      const TensorView<float> in(x.data() + 1, {m, 2 * d}, {stride, 1});
      silu_mul(in, {y.data() + 1, {m, d}, {d + 1, 1}});
      reference::silu_mul(in, {expected.data() + 1, {m, d}, {d + 1, 1}});
      EXPECT_TRUE(all_close(y, expected, kTolerance)) << "m " << m << " d " << d;

      // In place: y is the first half of x.
      std::vector<float> in_place = x;
      const TensorView<float> first_half(in_place.data() + 1, {m, d}, {stride, 1});
      silu_mul(TensorView<float>(in_place.data() + 1, {m, 2 * d}, {stride, 1}), first_half);
      for (std::int64_t i = 0; i < m; ++i) {
        const std::span<const float> got(first_half.row(i), static_cast<std::size_t>(d));
        const std::span<const float> want(expected.data() + 1 + i * (d + 1),
                                          static_cast<std::size_t>(d));
        EXPECT_TRUE(all_close(got, want, kTolerance));
      }
    }
  }
}

TEST_P(Activations, GelusEveryLength) {
  std::vector<std::int64_t> sizes = lengths();
  sizes.push_back(5000);
  for (const std::int64_t d : sizes) {
    for (const std::int64_t m : {0, 1, 5}) {
      const std::vector<float> x = random_floats(m * (d + 3) + 1, 3, 12.0f);
      std::vector<float> y = x, expected = x;
      quick_gelu({y.data() + 1, {m, d}, {d + 3, 1}});
      reference::quick_gelu({expected.data() + 1, {m, d}, {d + 3, 1}});
      EXPECT_TRUE(all_close(y, expected, kTolerance)) << "quick m " << m << " d " << d;
      y = expected = x;
      gelu({y.data() + 1, {m, d}, {d + 3, 1}});
      reference::gelu({expected.data() + 1, {m, d}, {d + 3, 1}});
      EXPECT_TRUE(all_close(y, expected, {.atol = 1e-6, .rtol = 1e-6})) << "m " << m << " d " << d;
      y = expected = x;
      gelu_tanh({y.data() + 1, {m, d}, {d + 3, 1}});
      reference::gelu_tanh({expected.data() + 1, {m, d}, {d + 3, 1}});
      EXPECT_TRUE(all_close(y, expected, kTolerance)) << "tanh m " << m << " d " << d;
    }
  }
}

// The whole range, finely: where polynomials change over and where exponentials saturate.
TEST_P(Activations, AccurateOverTheWholeRange) {
  std::vector<float> x;
  for (int i = -20000; i <= 20000; ++i) x.push_back(static_cast<float>(i) * 0.0061f);
  for (float v : {0.0f, -0.0f, 1e-30f, -1e-30f, 1e-6f, 87.0f, 88.5f, 100.0f, 1e4f, -87.5f, -1e4f}) {
    x.push_back(v);
  }
  const auto n = static_cast<std::int64_t>(x.size());
  std::vector<float> y = x, expected = x;
  quick_gelu({y.data(), {1, n}});
  reference::quick_gelu({expected.data(), {1, n}});
  EXPECT_TRUE(all_close(y, expected, {.atol = 1e-7, .rtol = 4e-7}));
  y = expected = x;
  gelu({y.data(), {1, n}});
  reference::gelu({expected.data(), {1, n}});
  EXPECT_TRUE(all_close(y, expected, {.atol = 4e-7, .rtol = 4e-7}));
  y = expected = x;
  gelu_tanh({y.data(), {1, n}});
  reference::gelu_tanh({expected.data(), {1, n}});
  EXPECT_TRUE(all_close(y, expected, {.atol = 4e-7, .rtol = 4e-7}));
}

TEST_P(Activations, NanStaysNan) {
  std::vector<float> x(19, std::numeric_limits<float>::quiet_NaN());
  quick_gelu({x.data(), {1, 19}});
  for (const float v : x) EXPECT_TRUE(std::isnan(v));
  gelu({x.data(), {1, 19}});
  for (const float v : x) EXPECT_TRUE(std::isnan(v));
  gelu_tanh({x.data(), {1, 19}});
  for (const float v : x) EXPECT_TRUE(std::isnan(v));
}

}  // namespace
}  // namespace reelm::kernels
