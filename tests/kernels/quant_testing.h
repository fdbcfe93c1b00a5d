// A product with quantised weights against the oracle.
#pragma once

#include <gtest/gtest.h>

#include "kernels/matmul.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {

/// m misaligned rows of activations; `x_gap` and `y_gap` floats lie between rows.
inline void expect_quantised_product(const PackedMatrix& w, std::int64_t m,
                                     const Epilogue& epilogue, std::int64_t x_gap,
                                     std::int64_t y_gap) {
  const std::int64_t k = w.in_features(), n = w.out_features();
  const std::vector<float> x = random_floats(m * (k + x_gap) + 1, 21, 3.0f);
  std::vector<float> y = random_floats(m * (n + y_gap) + 1, 22), expected = y;
  const TensorView<const float> xv(x.data() + 1, {m, k}, {k + x_gap, 1});
  matmul(xv, w, {y.data() + 1, {m, n}, {n + y_gap, 1}}, epilogue);
  reference::matmul_quantised(xv, w, {expected.data() + 1, {m, n}, {n + y_gap, 1}}, epilogue);
  // Integers are exact; a group adds one f32 rounding. Values reach 3, weights 1.
  EXPECT_TRUE(reelm::testing::all_close(
      y, expected, {.atol = 4e-7 * static_cast<double>(k) + 1e-6, .rtol = 4e-6}))
      << compute_type_name(w.type()) << " m " << m << " n " << n << " k " << k;
}

}  // namespace reelm::kernels
