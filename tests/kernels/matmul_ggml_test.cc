// Products with ggml's Q8_0 and Q4_0 weights, kept as they are stored.
#include <cmath>
#include <limits>

#include "core/error.h"
#include "kernels/matmul_impl.h"
#include "tests/kernels/quant_testing.h"
#include "tests/kernels/stored_blocks.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::all_equal_bits;

constexpr ComputeType kTypes[] = {ComputeType::kQ8_0, ComputeType::kQ4_0};

class MatmulGgml : public KernelTest {
 protected:
  static std::vector<float> product(const std::vector<float>& x, const PackedMatrix& w,
                                    std::int64_t m) {
    std::vector<float> y(static_cast<std::size_t>(m * w.out_features()));
    matmul({x.data(), {m, w.in_features()}}, w, {y.data(), {m, w.out_features()}});
    return y;
  }
};
REELM_KERNEL_TEST_SUITE(MatmulGgml);

TEST_P(MatmulGgml, EveryShape) {
  for (const ComputeType type : kTypes) {
    for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{{0, 32},
                                                                                 {5, 0},
                                                                                 {1, 32},
                                                                                 {7, 64},
                                                                                 {63, 96},
                                                                                 {64, 128},
                                                                                 {65, 160},
                                                                                 {130, 256},
                                                                                 {200, 672}}) {
      const PackedMatrix w(StoredBlocks(type, n, k, 51).matrix(), type);
      for (const std::int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 33, 200}) {
        expect_quantised_product(w, m, {}, 0, 0);
      }
    }
  }
}

TEST_P(MatmulGgml, StridedRowsAndEpilogues) {
  const std::vector<float> bias = random_floats(150, 52);
  for (const ComputeType type : kTypes) {
    const PackedMatrix w(StoredBlocks(type, 150, 192, 53).matrix(), type);
    for (const std::int64_t m : {1, 3, 8, 50}) {
      expect_quantised_product(w, m, {}, 9, 13);
      expect_quantised_product(
          w, m, {.bias = bias.data(), .activation = Activation::kSilu, .accumulate = true}, 1, 2);
    }
  }
}

// No bit of a weight changes: what is multiplied is what ggml's dequantize_row gives (dequantize.h,
// itself held against gguf.quants), subnormal scales and that of both signs of zero included.
TEST_P(MatmulGgml, WeightsAreThoseOfTheFile) {
  const std::int64_t n = 70, k = 160;
  for (const ComputeType type : kTypes) {
    StoredBlocks stored(type, n, k, 54);
    for (const auto& [block, bits] :
         {std::pair{3, 0x0001}, {4, 0x83ff}, {5, 0}, {6, 0x8000}, {7, 0x7bff}}) {
      stored.set_scale(block, static_cast<std::uint16_t>(bits));
    }
    const std::vector<float> expected = stored.floats();
    const std::vector<double> found = reference::dequantised(PackedMatrix(stored.matrix(), type));
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      ASSERT_EQ(found[i], static_cast<double>(expected[i])) << compute_type_name(type) << " " << i;
    }
  }
  const std::vector<float> one = {1.0f};
  (void)product(one, PackedMatrix(StoredMatrix{one.data(), DType::kF32, 1, 1}, ComputeType::kF32),
                1);  // shows which set runs
}

// Stacked, and gate and up interleaved: of rows that begin anywhere in a panel.
TEST_P(MatmulGgml, PartsAreWholeRows) {
  const std::int64_t k = 96;
  for (const ComputeType type : kTypes) {
    const StoredBlocks a(type, 40, k, 55), b(type, 40, k, 56);
    const std::vector<float> x = random_floats(5 * k, 57);
    const PackedMatrix pa(a.matrix(), type), pb(b.matrix(), type);
    const std::vector<float> ya = product(x, pa, 5), yb = product(x, pb, 5);

    const StoredMatrix parts[] = {a.matrix(), b.matrix()};
    const std::vector<float> stacked = product(x, PackedMatrix(parts, type), 5);
    for (std::size_t i = 0; i < 5 * 80; ++i) {
      const std::size_t row = i / 80, col = i % 80;
      ASSERT_EQ(stacked[i], col < 40 ? ya[row * 40 + col] : yb[row * 40 + col - 40]);
    }

    const PackedMatrix both(gated_parts(a.matrix(), b.matrix()), type);
    std::vector<float> gated(5 * 40), gates(5 * 40), expected(5 * 40);
    matmul({x.data(), {5, k}}, both, {gated.data(), {5, 40}},
           {.activation = Activation::kSilu, .gated = true});
    matmul({x.data(), {5, k}}, pa, {gates.data(), {5, 40}}, {.activation = Activation::kSilu});
    for (std::size_t i = 0; i < gated.size(); ++i) expected[i] = gates[i] * yb[i];
    EXPECT_TRUE(all_close(gated, expected, {.atol = 1e-5, .rtol = 1e-5}));
  }
}

// A row's result does not depend on how many rows there are, so not on the path: Q4_0 taken apart
// in registers, or widened; streamed, or blocked.
TEST_P(MatmulGgml, EveryPathHasTheSameBits) {
  const std::int64_t k = 672, n = 200, most = 200;
  const std::vector<float> x = random_floats(most * k, 58);
  for (const ComputeType type : kTypes) {
    const PackedMatrix w(StoredBlocks(type, n, k, 59).matrix(), type);
    const std::vector<float> all = product(x, w, most);
    EXPECT_EQ(last_matmul_path(), MatmulPath::kBlocked);
    for (const std::int64_t m : {1, 2, 3, 4, 7, 12}) {
      const std::vector<float> some = product(x, w, m);
      EXPECT_EQ(last_matmul_path(), MatmulPath::kFewRows);
      EXPECT_TRUE(std::equal(some.begin(), some.end(), all.begin()))
          << compute_type_name(type) << " m " << m;
    }
  }
}

// The largest sums integers must hold: every weight and every activation at its end.
TEST_P(MatmulGgml, ExtremesDoNotOverflow) {
  const std::int64_t k = 256;
  for (const ComputeType type : kTypes) {
    const bool eight = type == ComputeType::kQ8_0;
    StoredBlocks stored(type, 64, k, 60);
    for (std::int64_t i = 0; i < 64 * k / 32; ++i) stored.set_scale(i, 0x3c00);  // 1
    for (const auto& [byte, value] : {std::pair{eight ? 0x80 : 0x00, eight ? -128.0f : -8.0f},
                                      {eight ? 0x7f : 0xff, eight ? 127.0f : 7.0f}}) {
      stored.set_integers(static_cast<unsigned char>(byte));
      const PackedMatrix w(stored.matrix(), type);
      for (const std::int64_t m : {1, 2, 3, 20}) {
        for (const float sign : {1.0f, -1.0f}) {
          const std::vector<float> x(static_cast<std::size_t>(m * k), sign);
          const std::vector<float> y = product(x, w, m);
          const std::vector<float> expected(y.size(), sign * value * static_cast<float>(k));
          EXPECT_TRUE(all_close(y, expected, {.atol = 0.0, .rtol = 1e-6})) << byte;
        }
      }
    }
  }
}

// 32 inputs lose nothing to those beside them: their scale is their own.
TEST_P(MatmulGgml, ActivationsAreRoundedByThirtyTwo) {
  const std::int64_t k = 128;
  for (const ComputeType type : kTypes) {
    const StoredBlocks stored(type, 64, k, 61);
    const std::vector<float> weights = stored.floats();
    const PackedMatrix w(stored.matrix(), type);
    for (const std::int64_t m : {1, 20}) {
      std::vector<float> x(static_cast<std::size_t>(m * k), 0.0f);
      // 127, 1 and 3 thousandths beside a group of a million.
      x[0] = 0.127f, x[1] = 0.001f, x[2] = 0.003f, x[40] = 1e6f;
      const std::vector<float> y = product(x, w, m);
      for (std::size_t j = 0; j < 64; ++j) {
        const auto at = [&](std::size_t i) { return static_cast<double>(weights[j * k + i]); };
        const double large = 1e6 * at(40);
        const double small = 0.127 * at(0) + 0.001 * at(1) + 0.003 * at(2);
        EXPECT_NEAR(y[j], large + small, std::abs(large) * 1e-6 + 1e-6);
      }
      x[40] = 0.0f, x[41] = 1e-45f;  // 127 over it is infinite: zeros
      const std::vector<float> z = product(x, w, m);
      for (std::size_t j = 0; j < 64; ++j) {
        const auto at = [&](std::size_t i) { return static_cast<double>(weights[j * k + i]); };
        EXPECT_NEAR(z[j], 0.127 * at(0) + 0.001 * at(1) + 0.003 * at(2), 1e-6);
      }
    }
  }
}

TEST_P(MatmulGgml, WhatIsNotFiniteStaysSo) {
  for (const ComputeType type : kTypes) {
    const PackedMatrix w(StoredBlocks(type, 64, 192, 62).matrix(), type);
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const std::int64_t m : {1, 20}) {
        std::vector<float> x = random_floats(m * 192, 63);
        x[static_cast<std::size_t>(m * 192 - 1)] = bad;
        const std::vector<float> y = product(x, w, m);
        for (std::int64_t j = 0; j < 64; ++j) {
          EXPECT_FALSE(std::isfinite(y[static_cast<std::size_t>((m - 1) * 64 + j)]));
        }
        EXPECT_EQ(std::isfinite(y[0]), m > 1);  // other rows are not touched
      }
    }
    for (const std::uint16_t scale : {0x7c00, 0x7e00}) {  // infinity and NaN, in row 3
      StoredBlocks broken(type, 64, 192, 64);
      broken.set_scale(3 * 6 + 5, scale);
      const std::vector<float> y =
          product(random_floats(192, 65), PackedMatrix(broken.matrix(), type), 1);
      EXPECT_FALSE(std::isfinite(y[3]));
      EXPECT_TRUE(std::isfinite(y[4]));
    }
  }
}

TEST_P(MatmulGgml, PackedBytesMakeTheSameWeight) {
  for (const ComputeType type : kTypes) {
    PackedMatrix w(StoredBlocks(type, 70, 160, 66).matrix(), type);
    const std::int64_t block = type == ComputeType::kQ8_0 ? sizeof(Q8_0Block) : sizeof(Q4_0Block);
    ASSERT_EQ(std::ssize(w.packed_bytes()), 2 * 2 * block);
    const PackedMatrix again =
        PackedMatrix::from_packed(70, 160, type, w.packed_bytes(), w.share());
    const std::vector<float> x = random_floats(160, 67);
    const std::vector<float> expected = product(x, w, 1);
    w = PackedMatrix();  // `again` keeps the bytes
    EXPECT_EQ(product(x, again, 1), expected);
    EXPECT_THROW(
        PackedMatrix::from_packed(
            70, 160, type, again.packed_bytes().first(again.size_bytes() - 64), again.share()),
        Error);
  }
}

TEST(MatmulGgmlTypes, BitsOfAWeight) {
  EXPECT_EQ(bits_per_weight(ComputeType::kQ8_0), 8.5);
  EXPECT_EQ(bits_per_weight(ComputeType::kQ4_0), 4.5);
}

TEST(MatmulGgmlTypes, OtherStoredTypesAreRefused) {
  const std::vector<float> floats(64);
  const StoredMatrix plain = {floats.data(), DType::kF32, 1, 64};
  EXPECT_DEATH(PackedMatrix(plain, ComputeType::kQ8_0), "stored_type");
  EXPECT_DEATH(
      PackedMatrix(StoredBlocks(ComputeType::kQ8_0, 1, 64, 68).matrix(), ComputeType::kQ4_0),
      "stored_type");
}

}  // namespace
}  // namespace reelm::kernels
