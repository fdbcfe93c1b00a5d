#include "kernels/matmul.h"

#include <cstring>

#include "kernels/matmul_impl.h"
#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_close;
using reelm::testing::Tolerance;

// A stored weight whose data starts `shift` bytes past alignment.
struct Stored {
  Stored(std::int64_t rows, std::int64_t cols, DType dtype, unsigned seed, std::size_t shift)
      : bytes(static_cast<std::size_t>(rows * cols) * dtype_size(dtype) + shift) {
    const std::vector<float> values = random_floats(rows * cols, seed);
    char* p = bytes.data() + shift;
    for (const float v : values) {
      if (dtype == DType::kF32) {
        std::memcpy(p, &v, 4);
      } else if (dtype == DType::kBF16) {
        const bf16_t b = to_bf16(v);
        std::memcpy(p, &b, 2);
      } else {
        // A half with 4 bits of mantissa: exact, without a converter to trust.
        const auto h = static_cast<std::uint16_t>(0x3800u + (static_cast<int>(v * 16) & 0x83c0));
        std::memcpy(p, &h, 2);
      }
      p += dtype_size(dtype);
    }
    matrix = {bytes.data() + shift, dtype, rows, cols};
  }
  Stored(const Stored&) = delete;
  std::vector<char> bytes;
  StoredMatrix matrix;
};

// f32: k products of values up to 1, summed in f32. bf16: products are exact, sums are f32.
Tolerance tolerance_for(std::int64_t k) {
  return {.atol = 2e-7 * static_cast<double>(k) + 1e-6, .rtol = 2e-6};
}

void expect_matches(std::span<const StoredMatrix> parts, ComputeType type, std::int64_t m,
                    const Epilogue& epilogue, std::int64_t x_gap, std::int64_t y_gap) {
  const PackedMatrix packed(parts, type);
  const std::int64_t k = packed.in_features(), n = packed.out_features();
  const std::vector<float> x = random_floats(m * (k + x_gap) + 1, 11);
  std::vector<float> y = random_floats(m * (n + y_gap) + 1, 12), expected = y;
  const TensorView<const float> xv(x.data() + 1, {m, k}, {k + x_gap, 1});
  matmul(xv, packed, {y.data() + 1, {m, n}, {n + y_gap, 1}}, epilogue);
  reference::matmul(xv, parts, type, {expected.data() + 1, {m, n}, {n + y_gap, 1}}, epilogue);
  EXPECT_TRUE(all_close(y, expected, tolerance_for(k)))
      << "m " << m << " n " << n << " k " << k << " type " << static_cast<int>(type);
}

class Matmul : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Matmul);

TEST_P(Matmul, EveryShape) {
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const auto& [n, k] : std::vector<std::pair<std::int64_t, std::int64_t>>{
             {1, 1}, {7, 3}, {63, 64}, {64, 31}, {65, 33}, {130, 257}, {200, 520}}) {
      const Stored w(n, k, DType::kF32, 1, 0);
      for (const std::int64_t m : {0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 13, 16, 33, 200}) {
        expect_matches({&w.matrix, 1}, type, m, {}, 0, 0);
      }
    }
  }
}

TEST_P(Matmul, StridedRows) {
  const Stored w(70, 100, DType::kF32, 2, 0);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const std::int64_t m : {1, 5, 40}) expect_matches({&w.matrix, 1}, type, m, {}, 9, 13);
  }
}

TEST_P(Matmul, EveryStoredTypeUnaligned) {
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const DType dtype : {DType::kF32, DType::kF16, DType::kBF16}) {
      for (const std::size_t shift : {0, 1, 3}) {
        const Stored w(75, 141, dtype, 3, shift);
        for (const std::int64_t m : {1, 20}) expect_matches({&w.matrix, 1}, type, m, {}, 0, 0);
      }
    }
  }
}

TEST_P(Matmul, StackedParts) {
  const Stored q(48, 96, DType::kF32, 4, 0), k(13, 96, DType::kBF16, 5, 1),
      v(16, 96, DType::kF16, 6, 0), none(0, 96, DType::kF32, 7, 0), last(3, 96, DType::kF32, 8, 2);
  const std::vector<StoredMatrix> parts = {q.matrix, k.matrix, none.matrix, v.matrix, last.matrix};
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const std::int64_t m : {1, 9, 40}) expect_matches(parts, type, m, {}, 0, 0);
  }
}

TEST_P(Matmul, Epilogues) {
  const Stored w(150, 64, DType::kF32, 9, 0);
  const std::vector<float> bias = random_floats(150, 10);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const Activation activation :
         {Activation::kNone, Activation::kQuickGelu, Activation::kGelu, Activation::kSilu,
          Activation::kGeluTanh}) {
      for (const bool with_bias : {false, true}) {
        for (const bool accumulate : {false, true}) {
          const Epilogue epilogue = {.bias = with_bias ? bias.data() : nullptr,
                                     .activation = activation,
                                     .accumulate = accumulate};
          for (const std::int64_t m : {1, 3, 8, 50}) {
            expect_matches({&w.matrix, 1}, type, m, epilogue, 0, 0);
          }
        }
      }
    }
  }
}

// Deep enough for several blocks of k, wide enough for every thread; the sizes of a real layer.
TEST_P(Matmul, DeepProduct) {
  const Stored w(320, 1280, DType::kBF16, 13, 0);
  const std::vector<float> bias = random_floats(320, 14);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    for (const std::int64_t m : {1, 2, 15, 100, 230}) {
      expect_matches({&w.matrix, 1}, type, m, {.bias = bias.data(), .accumulate = true}, 0, 0);
    }
  }
}

TEST_P(Matmul, TakesTheExpectedPath) {
  const Stored w(128, 64, DType::kF32, 15, 0);
  const bool emulated = GetParam().emulated != nullptr;
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    const PackedMatrix packed(w.matrix, type);
    const auto path = [&](std::int64_t m, std::int64_t gap) {
      const std::vector<float> x = random_floats(m * 64, 1);
      std::vector<float> y(static_cast<std::size_t>(m * (128 + gap)));
      matmul({x.data(), {m, 64}}, packed, {y.data(), {m, 128}, {128 + gap, 1}});
      return last_matmul_path();
    };
    EXPECT_EQ(path(0, 0), MatmulPath::kNothing);
    EXPECT_EQ(path(1, 0), MatmulPath::kFewRows);
    EXPECT_EQ(path(kFewRows, 0), MatmulPath::kFewRows);
    EXPECT_EQ(path(kFewRows + 1, 0), MatmulPath::kBlocked);
    // oneDNN reads the panels where this machine really has the instructions; everywhere else, and
    // for strided results, the kernels of this library do.
    const Isa least = type == ComputeType::kBF16 ? Isa::kAvx512Bf16 : Isa::kAvx512;
    const bool tiles = type == ComputeType::kBF16 && GetParam().isa == Isa::kAmx;  // our own
    const bool dnnl = !emulated && GetParam().isa >= least && !tiles;
    EXPECT_EQ(path(64, 0), dnnl ? MatmulPath::kDnnl : MatmulPath::kBlocked);
    EXPECT_EQ(path(64, 3), MatmulPath::kBlocked);
  }
}

TEST_P(Matmul, PackedCopyIsOnePaddedLayout) {
  const Stored w(65, 33, DType::kF32, 16, 0);
  const PackedMatrix f32(w.matrix, ComputeType::kF32), bf16(w.matrix, ComputeType::kBF16);
  EXPECT_EQ(f32.size_bytes(), 128u * 48u * 4u);
  EXPECT_EQ(bf16.size_bytes(), 128u * 64u * 2u);
  EXPECT_EQ(f32.out_features(), 65);
  EXPECT_EQ(f32.in_features(), 33);
  float first, second_column;
  std::memcpy(&first, w.matrix.data, 4);
  std::memcpy(&second_column, static_cast<const char*>(w.matrix.data) + 33 * 4, 4);
  EXPECT_EQ(std::bit_cast<float>(f32.impl().words[0]), first);
  EXPECT_EQ(std::bit_cast<float>(f32.impl().words[1]), second_column);
  EXPECT_EQ(bf16.impl().words[0] & 0xffffu, to_bf16(first).bits);
  // What is not there is zero: columns past 65 and k past 33.
  EXPECT_EQ(f32.impl().words[48 * 64 + 1], 0u);
  EXPECT_EQ(f32.impl().words[33 * 64], 0u);
  EXPECT_EQ(bf16.impl().words[17 * 64], 0u);
}

TEST_P(Matmul, EmptyMatrices) {
  const PackedMatrix none(std::span<const StoredMatrix>{}, ComputeType::kF32);
  EXPECT_EQ(none.out_features(), 0);
  EXPECT_EQ(PackedMatrix().out_features(), 0);
  const Stored no_columns(5, 0, DType::kF32, 17, 0);
  const std::vector<float> bias = random_floats(5, 18);
  for (const std::int64_t m : {1, 20}) {
    expect_matches({&no_columns.matrix, 1}, ComputeType::kF32, m, {.bias = bias.data()}, 0, 0);
    expect_matches({&no_columns.matrix, 1}, ComputeType::kBF16, m, {.bias = bias.data()}, 0, 0);
  }
}

TEST(MatmulDeathTest, ColumnsMustAgree) {
  const Stored a(4, 8, DType::kF32, 1, 0), b(4, 9, DType::kF32, 2, 0);
  const std::vector<StoredMatrix> parts = {a.matrix, b.matrix};
  EXPECT_DEATH(PackedMatrix(parts, ComputeType::kF32), "cols");
}

}  // namespace
}  // namespace reelm::kernels
