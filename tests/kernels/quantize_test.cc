#include "kernels/quantize.h"

#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_equal_bits;

class Quantize : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Quantize);

struct Quantized {
  std::vector<std::int8_t> values;
  std::vector<float> scales;
};

// Rows with room between them, on both sides.
Quantized run(const std::vector<float>& x, std::int64_t n, std::int64_t d, bool reference) {
  Quantized out = {std::vector<std::int8_t>(static_cast<std::size_t>(n * (d + 3) + 1), 99),
                   std::vector<float>(static_cast<std::size_t>(n) + 1, -7.0f)};
  const TensorView<const float> from(x.data(), {n, d}, {d + 5, 1});
  const TensorView<std::int8_t> to(out.values.data() + 1, {n, d}, {d + 3, 1});
  if (reference) {
    reference::quantize_rows(from, to, out.scales.data());
  } else {
    quantize_rows(from, to, out.scales.data());
  }
  return out;
}

void expect_same(const std::vector<float>& x, std::int64_t n, std::int64_t d) {
  const Quantized out = run(x, n, d, false), expected = run(x, n, d, true);
  EXPECT_EQ(out.values, expected.values) << n << " rows of " << d;
  EXPECT_TRUE(all_equal_bits(out.scales, expected.scales)) << n << " rows of " << d;
}

TEST_P(Quantize, EveryLength) {
  for (const std::int64_t d : lengths()) {
    for (const std::int64_t n : {0, 1, 7, 600}) {  // 600: more than one thread's share
      for (const float range : {1.0f, 1e-20f, 1e30f}) {
        expect_same(random_floats(n * (d + 5), 1, range), n, d);
      }
    }
  }
}

TEST_P(Quantize, IsWithinHalfAStep) {
  const std::vector<float> x = random_floats(128 + 5, 3);
  const Quantized out = run(x, 1, 128, false);
  int largest = 0;
  for (std::size_t i = 0; i < 128; ++i) {
    const int value = out.values[i + 1];
    largest = std::max(largest, std::abs(value));
    EXPECT_NEAR(static_cast<float>(value) * out.scales[0], x[i], out.scales[0] * 0.5001f);
  }
  EXPECT_EQ(largest, 127);
}

TEST_P(Quantize, TiesGoToEven) {
  // The scale is 1: halves are exact.
  const std::vector<float> x = {127.0f,  0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -126.5f,
                                -127.0f, 0,    0,    0,    0,     0};
  const Quantized out = run(x, 1, 8, false);
  const std::vector<std::int8_t> expected = {127, 0, 2, 2, 0, -2, -126, -127};
  EXPECT_EQ(out.scales[0], 1.0f);
  for (std::size_t i = 0; i < 8; ++i) EXPECT_EQ(out.values[i + 1], expected[i]) << i;
}

TEST_P(Quantize, ZerosAndWhatIsNoNumber) {
  const float inf = std::numeric_limits<float>::infinity();
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t d : {1, 5, 16, 37, 128}) {
    for (const float odd : {0.0f, -0.0f, 1e-31f, 1e-30f, -1e-40f, inf, -inf, nan}) {
      for (const float rest : {0.0f, 1e-35f, 3.0f}) {
        for (const std::int64_t place : {std::int64_t{0}, d / 2, d - 1}) {
          std::vector<float> x(static_cast<std::size_t>(d + 5), rest);
          x[static_cast<std::size_t>(place)] = odd;
          expect_same(x, 1, d);
        }
      }
    }
  }
  const std::vector<float> bad(133, nan);
  const Quantized out = run(bad, 1, 128, false);
  EXPECT_TRUE(std::isnan(out.scales[0]));
  EXPECT_EQ(out.values[1], 0);
}

}  // namespace
}  // namespace reelm::kernels
