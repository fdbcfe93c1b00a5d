#include "kernels/norm.h"

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::Tolerance;

constexpr Tolerance kTolerance = {.atol = 2e-6, .rtol = 2e-6};

class Norm : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Norm);

// Rows of `d` inside a wider matrix that starts one float past alignment.
struct Rows {
  Rows(std::int64_t m_, std::int64_t d_, std::int64_t stride_, unsigned seed)
      : m(m_), d(d_), stride(stride_), values(random_floats(m_ * stride_ + 1, seed, 3.0f)) {}
  TensorView<float> view() { return TensorView<float>(values.data() + 1, {m, d}, {stride, 1}); }
  std::int64_t m, d, stride;
  std::vector<float> values;
};

TEST_P(Norm, EveryLength) {
  std::vector<std::int64_t> sizes = lengths();
  sizes.push_back(1280);
  sizes.push_back(1536);
  for (const std::int64_t d : sizes) {
    if (d == 0) continue;
    for (const std::int64_t m : {0, 1, 3, 40}) {
      Rows x(m, d, d + 5, 1), delta(m, d, d + 2, 2), y(m, d, d + 3, 3);
      Rows residual = x, expected_residual = x, expected = y;
      const std::vector<float> weight = random_floats(d, 4), bias = random_floats(d, 5);
      SCOPED_TRACE(::testing::Message() << "m " << m << " d " << d);

      rms_norm(x.view(), weight.data(), 1e-6f, y.view());
      reference::rms_norm(x.view(), weight.data(), 1e-6f, expected.view());
      EXPECT_TRUE(all_close(y.values, expected.values, kTolerance));

      layer_norm(x.view(), weight.data(), bias.data(), 1e-6f, y.view());
      reference::layer_norm(x.view(), weight.data(), bias.data(), 1e-6f, expected.view());
      EXPECT_TRUE(all_close(y.values, expected.values, {.atol = 2e-5, .rtol = 2e-5}));

      add_rms_norm(residual.view(), delta.view(), weight.data(), 1e-6f, y.view());
      reference::add_rms_norm(expected_residual.view(), delta.view(), weight.data(), 1e-6f,
                              expected.view());
      EXPECT_TRUE(all_close(residual.values, expected_residual.values, {}));
      EXPECT_TRUE(all_close(y.values, expected.values, kTolerance));

      residual = expected_residual = x;
      add_layer_norm(residual.view(), delta.view(), weight.data(), bias.data(), 1e-6f, y.view());
      reference::add_layer_norm(expected_residual.view(), delta.view(), weight.data(), bias.data(),
                                1e-6f, expected.view());
      EXPECT_TRUE(all_close(residual.values, expected_residual.values, {}));
      EXPECT_TRUE(all_close(y.values, expected.values, {.atol = 2e-5, .rtol = 2e-5}));
    }
  }
}

TEST_P(Norm, InPlace) {
  Rows x(3, 100, 100, 1);
  Rows y = x, expected = x;
  const std::vector<float> weight = random_floats(100, 4);
  rms_norm(y.view(), weight.data(), 1e-5f, y.view());
  reference::rms_norm(x.view(), weight.data(), 1e-5f, expected.view());
  EXPECT_TRUE(all_close(y.values, expected.values, kTolerance));
}

// Heads side by side in wider rows, and those of every second row only.
TEST_P(Norm, HeadsByThemselves) {
  std::vector<std::int64_t> sizes = lengths();
  sizes.push_back(128);
  for (const std::int64_t d : sizes) {
    if (d == 0) continue;
    for (const auto& [n, heads] :
         {std::pair{0, 2}, std::pair{1, 1}, std::pair{1, 16}, std::pair{37, 3}}) {
      const std::int64_t stride = 2 * (heads * d + 3);
      std::vector<float> x = random_floats(n * stride + 1, 1, 3.0f), expected = x;
      const std::vector<float> weight = random_floats(d, 4);
      head_rms_norm({x.data() + 1, {n, heads, d}, {stride, d, 1}}, weight.data(), 1e-6f);
      reference::head_rms_norm({expected.data() + 1, {n, heads, d}, {stride, d, 1}}, weight.data(),
                               1e-6f);
      EXPECT_TRUE(all_close(x, expected, kTolerance)) << n << " x " << heads << " x " << d;
    }
  }
}

TEST_P(Norm, LayerNormSurvivesALargeMean) {
  std::vector<float> x = random_floats(1280, 1);
  for (float& v : x) v += 1000.0f;
  const std::vector<float> weight(1280, 1.0f), bias(1280, 0.0f);
  std::vector<float> y(1280), expected(1280);
  const TensorView<const float> view(x.data(), {1, 1280});
  layer_norm(view, weight.data(), bias.data(), 1e-6f, {y.data(), {1, 1280}});
  reference::layer_norm(view, weight.data(), bias.data(), 1e-6f, {expected.data(), {1, 1280}});
  EXPECT_TRUE(all_close(y, expected, {.atol = 5e-4}));  // a float near 1000 is good to 6e-5
}

}  // namespace
}  // namespace reelm::kernels
