// Products with int8 and int4 weights, and how weights and activations are rounded.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/error.h"
#include "kernels/matmul.h"
#include "kernels/matmul_impl.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/kernels/quant_testing.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;

constexpr ComputeType kQuantised[] = {ComputeType::kInt8, ComputeType::kInt4};

PackedMatrix pack_floats(const std::vector<float>& values, std::int64_t rows, std::int64_t cols,
                         ComputeType type) {
  return PackedMatrix(StoredMatrix{values.data(), DType::kF32, rows, cols}, type);
}

class MatmulQuant : public KernelTest {};
REELM_KERNEL_TEST_SUITE(MatmulQuant);

TEST_P(MatmulQuant, EveryShape) {
  for (const ComputeType type : kQuantised) {
    for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {7, 3}, {63, 127}, {64, 128}, {65, 129}, {130, 257}, {200, 640}}) {
      const PackedMatrix w = pack_floats(random_floats(n * k, 23), n, k, type);
      for (const std::int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 33, 200}) {
        expect_quantised_product(w, m, {}, 0, 0);
      }
    }
  }
}

// Seeds whose weights lie so near to a tie that a fused multiply-add, or another order of a sum,
// decided otherwise.
TEST_P(MatmulQuant, PackedBytesAreThoseOfThePortableSet) {
  for (const auto& [type, seed] : {std::pair{ComputeType::kInt8, 120u},
                                   {ComputeType::kInt8, 1060u},
                                   {ComputeType::kInt4, 1323u},
                                   {ComputeType::kInt4, 1333u},
                                   {ComputeType::kInt4, 1500u}}) {
    const std::vector<float> values = random_floats(64 * 256, seed);
    const PackedMatrix here = pack_floats(values, 64, 256, type);
    set_active_isa(Isa::kPortable);
    const PackedMatrix portable = pack_floats(values, 64, 256, type);
    SetUp();
    EXPECT_TRUE(reelm::testing::all_equal_bits(here.packed_bytes(), portable.packed_bytes()))
        << compute_type_name(type) << " seed " << seed;
    expect_quantised_product(here, 1, {}, 0, 0);
  }
}

// 127 over the largest of them is infinite.
TEST_P(MatmulQuant, TinyActivationsAreZeros) {
  for (const ComputeType type : kQuantised) {
    const PackedMatrix w = pack_floats(random_floats(64 * 130, 26), 64, 130, type);
    for (const float tiny : {1e-45f, 1e-40f, 1e-38f, 3e-37f, 9e-31f}) {
      for (const std::int64_t m : {1, 20}) {
        const std::vector<float> x(static_cast<std::size_t>(m * 130), tiny);
        std::vector<float> y(static_cast<std::size_t>(m * 64), 7.0f);
        matmul({x.data(), {m, 130}}, w, {y.data(), {m, 64}});
        for (const float v : y) ASSERT_EQ(v, 0.0f) << tiny;
      }
    }
  }
}

TEST_P(MatmulQuant, StridedRowsAndEpilogues) {
  const std::vector<float> bias = random_floats(150, 24);
  for (const ComputeType type : kQuantised) {
    const PackedMatrix w = pack_floats(random_floats(150 * 200, 25), 150, 200, type);
    for (const std::int64_t m : {1, 3, 8, 50}) {
      expect_quantised_product(w, m, {}, 9, 13);
      expect_quantised_product(
          w, m, {.bias = bias.data(), .activation = Activation::kSilu, .accumulate = true}, 1, 2);
    }
  }
}

// Against the product of both halves, written out and multiplied.
TEST_P(MatmulQuant, GatedIsSiluOfOneHalfTimesTheOther) {
  const std::int64_t k = 150;
  for (const std::int64_t d : {1, 31, 32, 33, 100, 128}) {
    const std::vector<float> gate = random_floats(d * k, 41), up = random_floats(d * k, 42);
    const std::vector<StoredMatrix> parts =
        gated_parts({gate.data(), DType::kF32, d, k}, {up.data(), DType::kF32, d, k});
    const std::vector<float> gate_bias = random_floats(d, 44), up_bias = random_floats(d, 45);
    std::vector<float> bias;
    for (const StoredMatrix& rows :
         gated_parts({gate_bias.data(), DType::kF32, d, 1}, {up_bias.data(), DType::kF32, d, 1})) {
      const auto* from = static_cast<const float*>(rows.data);
      bias.insert(bias.end(), from, from + rows.rows);
    }
    for (const ComputeType type :
         {ComputeType::kF32, ComputeType::kBF16, ComputeType::kInt8, ComputeType::kInt4}) {
      const PackedMatrix both(parts, type);
      const PackedMatrix gates = pack_floats(gate, d, k, type), ups = pack_floats(up, d, k, type);
      for (const std::int64_t m : {1, 2, 7, 40, 41}) {
        const bool biased = m % 2 == 1;
        const std::vector<float> x = random_floats(m * k, 43);
        const TensorView<const float> xv(x.data(), {m, k});
        std::vector<float> y(static_cast<std::size_t>(m * (d + 3)), 7.0f), expected = y;
        std::vector<float> g(static_cast<std::size_t>(m * d)), u = g;
        matmul(xv, gates, {g.data(), {m, d}},
               {.bias = biased ? gate_bias.data() : nullptr, .activation = Activation::kSilu});
        matmul(xv, ups, {u.data(), {m, d}}, {.bias = biased ? up_bias.data() : nullptr});
        for (std::int64_t i = 0; i < m * d; ++i) {
          const auto at = static_cast<std::size_t>(i);
          expected[static_cast<std::size_t>(i / d * (d + 3) + i % d)] = g[at] * u[at];
        }
        matmul(xv, both, {y.data(), {m, d}, {d + 3, 1}},
               {.bias = biased ? bias.data() : nullptr,
                .activation = Activation::kSilu,
                .gated = true});
        EXPECT_TRUE(all_close(y, expected, {.atol = 1e-5, .rtol = 1e-5}))
            << compute_type_name(type) << " d " << d << " m " << m;
      }
    }
  }
}

// The largest sums integers must hold: every weight and every activation at its end, alike and
// against each other.
TEST_P(MatmulQuant, ExtremesDoNotOverflow) {
  const std::int64_t k = 256;
  for (const ComputeType type : kQuantised) {
    for (const float sign : {1.0f, -1.0f}) {
      const std::vector<float> values(static_cast<std::size_t>(64 * k), sign);
      const PackedMatrix w = pack_floats(values, 64, k, type);
      for (const std::int64_t m : {1, 2, 3, 20}) {
        const std::vector<float> x(static_cast<std::size_t>(m * k), -1.0f);
        std::vector<float> y(static_cast<std::size_t>(m * 64));
        matmul({x.data(), {m, k}}, w, {y.data(), {m, 64}});
        const std::vector<float> expected(y.size(), -sign * static_cast<float>(k));
        EXPECT_TRUE(all_close(y, expected, {.atol = 0.0, .rtol = 5e-3}));
      }
    }
  }
}

TEST_P(MatmulQuant, StackedPartsOfEveryStoredType) {
  const std::int64_t k = 150;
  const std::vector<float> f = random_floats(40 * k, 26);
  std::vector<bf16_t> b;
  for (const float v : random_floats(30 * k, 27)) b.push_back(to_bf16(v));
  const std::vector<StoredMatrix> parts = {{f.data(), DType::kF32, 40, k},
                                           {b.data(), DType::kBF16, 30, k}};
  for (const ComputeType type : kQuantised) {
    const PackedMatrix w(parts, type);
    const std::vector<double> values = reference::dequantised(w);
    // Of the second part, row 5: the bf16 values within the type's step.
    const double step = type == ComputeType::kInt8 ? 1.0 / 127 : 2.2 / 15;
    for (std::int64_t i = 0; i < k; ++i) {
      EXPECT_NEAR(values[static_cast<std::size_t>(45 * k + i)],
                  to_float(b[static_cast<std::size_t>(5 * k + i)]), step);
    }
    for (const std::int64_t m : {1, 20}) expect_quantised_product(w, m, {}, 0, 0);
  }
}

// Rows of values in [-1, 1] and some that are special. int8: never off by more than half a step
// (and what rounding the scale to bf16 adds). int4 may clip the ends of 32 values where that loses
// less on the whole, so its bound is on the mean square: rounding evenly over the range would give
// 2/15 / sqrt(12).
TEST_P(MatmulQuant, WeightsKeepTheirValues) {
  const std::int64_t n = 70, k = 300;
  std::vector<float> values = random_floats(n * k, 28);
  const auto row = [&](std::int64_t i) { return values.begin() + i * k; };
  std::transform(row(3), row(4), row(3), [](float v) { return v * 1e-20f; });
  std::fill(row(4), row(5), 0.0f);
  std::fill(row(5), row(6), 0.25f);
  for (const ComputeType type : kQuantised) {
    const std::vector<double> got = reference::dequantised(pack_floats(values, n, k, type));
    for (std::int64_t r = 0; r < n; ++r) {
      const double range = r == 3 ? 1e-20 : r == 4 ? 0.0 : 1.0;
      double worst = 0.0, squares = 0.0;
      for (auto i = static_cast<std::size_t>(r * k); i < static_cast<std::size_t>((r + 1) * k);
           ++i) {
        const double error = std::abs(got[i] - values[i]);
        worst = std::max(worst, error);
        squares += error * error;
      }
      if (type == ComputeType::kInt8) {
        EXPECT_LE(worst, range * 0.504 / 127) << r;
      } else {
        EXPECT_LE(std::sqrt(squares / static_cast<double>(k)), range * 2.0 / 15 * 0.2887) << r;
      }
    }
  }
}

// What the smaller steps are tried for: 32 normal values lose less than by covering their range.
TEST_P(MatmulQuant, Int4LosesLittleOfNormalValues) {
  std::mt19937 engine(5);
  std::normal_distribution<float> normal;
  std::vector<float> values(64 * 512);
  for (float& v : values) v = normal(engine);
  const auto loss = [&](ComputeType type) {
    const std::vector<double> got = reference::dequantised(pack_floats(values, 64, 512, type));
    double error = 0.0, power = 0.0;
    for (std::size_t i = 0; i < values.size(); ++i) {
      error += (got[i] - values[i]) * (got[i] - values[i]);
      power += static_cast<double>(values[i]) * values[i];
    }
    return std::sqrt(error / power);
  };
  EXPECT_LT(loss(ComputeType::kInt8), 0.0070);
  EXPECT_LT(loss(ComputeType::kInt4), 0.0780);  // rounding over the whole range: 0.080
}

TEST_P(MatmulQuant, WhatIsNotFiniteStaysSo) {
  for (const ComputeType type : kQuantised) {
    const PackedMatrix w = pack_floats(random_floats(64 * 200, 29), 64, 200, type);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const std::int64_t m : {1, 20}) {
        std::vector<float> x = random_floats(m * 200, 30);
        x[static_cast<std::size_t>(m * 200 - 1)] = bad;
        std::vector<float> y(static_cast<std::size_t>(m * 64));
        matmul({x.data(), {m, 200}}, w, {y.data(), {m, 64}});
        for (std::int64_t j = 0; j < 64; ++j) {
          EXPECT_FALSE(std::isfinite(y[static_cast<std::size_t>((m - 1) * 64 + j)]));
        }
        EXPECT_EQ(std::isfinite(y[0]), m > 1);  // other rows are not touched
      }
      std::vector<float> values = random_floats(64 * 200, 31);
      values[3 * 200 + 150] = bad;
      const PackedMatrix broken = pack_floats(values, 64, 200, type);
      const std::vector<float> x = random_floats(200, 32);
      std::vector<float> y(64);
      matmul({x.data(), {1, 200}}, broken, {y.data(), {1, 64}});
      EXPECT_FALSE(std::isfinite(y[3]));
      EXPECT_TRUE(std::isfinite(y[4]));
    }
  }
}

TEST_P(MatmulQuant, BlocksAreTheDocumentedOnes) {
  std::vector<float> values(2 * 130, 0.0f);
  values[0] = 127.0f;
  values[5] = -63.5f;
  values[130 + 129] = 2.0f;
  const PackedMatrix w = pack_floats(values, 2, 130, ComputeType::kInt8);
  ASSERT_EQ(w.size_bytes(), 2 * sizeof(Int8Block));
  Int8Block blocks[2];
  std::memcpy(blocks, w.packed_bytes().data(), sizeof(blocks));
  EXPECT_EQ(blocks[0].scale[0], to_bf16(1.0f).bits);
  EXPECT_EQ(blocks[0].q[0][0][0], 255);
  EXPECT_EQ(blocks[0].q[1][0][1], 64);  // -63.5 to even
  EXPECT_EQ(blocks[0].scale[1], 0);
  EXPECT_EQ(blocks[1].q[0][1][1], 255);
  EXPECT_EQ(pack_floats(values, 2, 130, ComputeType::kInt4).size_bytes(), 2 * sizeof(Int4Block));
}

TEST_P(MatmulQuant, PackedBytesMakeTheSameWeight) {
  for (const ComputeType type :
       {ComputeType::kF32, ComputeType::kBF16, ComputeType::kInt8, ComputeType::kInt4}) {
    PackedMatrix w = pack_floats(random_floats(70 * 130, 33), 70, 130, type);
    const PackedMatrix again =
        PackedMatrix::from_packed(70, 130, type, w.packed_bytes(), w.share());
    const std::vector<float> x = random_floats(130, 34);
    std::vector<float> y(70), expected(70);
    matmul({x.data(), {1, 130}}, w, {expected.data(), {1, 70}});
    w = PackedMatrix();  // `again` keeps the bytes
    matmul({x.data(), {1, 130}}, again, {y.data(), {1, 70}});
    EXPECT_EQ(y, expected);
    EXPECT_THROW(
        PackedMatrix::from_packed(
            70, 130, type, again.packed_bytes().first(again.size_bytes() - 64), again.share()),
        Error);
    EXPECT_THROW(PackedMatrix::from_packed(
                     70, 130, type, again.packed_bytes().subspan(4).first(again.size_bytes() - 4),
                     again.share()),
                 Error);
    EXPECT_THROW(PackedMatrix::from_packed(std::numeric_limits<std::int64_t>::max() - 3, 130, type,
                                           again.packed_bytes(), again.share()),
                 Error);
  }
}

}  // namespace
}  // namespace reelm::kernels
