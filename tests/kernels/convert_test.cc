#include "kernels/convert.h"

#include <bit>
#include <cstring>
#include <limits>

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

using reelm::testing::all_equal_bits;

class Convert : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Convert);

// Elements `shift` bytes past an aligned address.
template <typename T>
struct Shifted {
  Shifted(std::int64_t n, std::size_t shift)
      : bytes(static_cast<std::size_t>(n) * sizeof(T) + shift + 64), offset(shift) {}
  T* data() { return reinterpret_cast<T*>(bytes.data() + offset); }
  std::vector<char> bytes;
  std::size_t offset;
};

TEST_P(Convert, EveryLengthAndAlignment) {
  for (const std::int64_t n : lengths()) {
    for (const std::size_t shift : {0, 4, 12}) {
      const std::vector<float> values = random_floats(n, 1, 100.0f);
      Shifted<float> from(n, shift);
      if (n > 0) std::memcpy(from.data(), values.data(), values.size() * sizeof(float));
      std::vector<bf16_t> narrow(static_cast<std::size_t>(n) + 1, bf16_t{0x1234}),
          expected = narrow;
      convert(from.data(), narrow.data(), n);
      reference::convert(values.data(), expected.data(), n);
      EXPECT_TRUE(all_equal_bits(narrow, expected)) << "n " << n << " shift " << shift;

      Shifted<bf16_t> from16(n, shift / 2);
      if (n > 0) std::memcpy(from16.data(), narrow.data(), static_cast<std::size_t>(n) * 2);
      std::vector<float> wide(static_cast<std::size_t>(n) + 1, -7.0f), wide_expected = wide;
      convert(from16.data(), wide.data(), n);
      reference::convert(narrow.data(), wide_expected.data(), n);
      EXPECT_TRUE(all_equal_bits(wide, wide_expected)) << "n " << n << " shift " << shift;
    }
  }
}

TEST_P(Convert, RoundsToNearestEvenAndKeepsSpecials) {
  std::vector<float> values = {0.0f,
                               -0.0f,
                               1.0f,
                               -1.0f,
                               std::numeric_limits<float>::infinity(),
                               -std::numeric_limits<float>::infinity(),
                               std::numeric_limits<float>::max(),
                               std::numeric_limits<float>::denorm_min(),
                               1e-40f,
                               -3e-39f};
  for (std::uint32_t tail : {0x7fffu, 0x8000u, 0x8001u, 0xffffu, 0x0001u}) {
    for (std::uint32_t head : {0x3f80u, 0x3f81u, 0xbf80u, 0x0001u, 0x7f7fu}) {
      values.push_back(std::bit_cast<float>(head << 16 | tail));
    }
  }
  values.push_back(std::bit_cast<float>(0x7fc00001u));
  values.push_back(std::bit_cast<float>(0x7f800001u));  // its payload would round to infinity
  values.push_back(std::bit_cast<float>(0xffffffffu));
  std::vector<bf16_t> out(values.size()), expected(values.size());
  convert(values.data(), out.data(), static_cast<std::int64_t>(values.size()));
  reference::convert(values.data(), expected.data(), static_cast<std::int64_t>(values.size()));
  EXPECT_TRUE(all_equal_bits(out, expected));
}

TEST_P(Convert, EveryHalfValue) {
  std::vector<f16_t> from(65536);
  for (std::size_t i = 0; i < from.size(); ++i) from[i].bits = static_cast<std::uint16_t>(i);
  std::vector<float> out(from.size()), expected(from.size());
  convert(from.data(), out.data(), 65536);
  reference::convert(from.data(), expected.data(), 65536);
  for (std::size_t i = 0; i < from.size(); ++i) {
    if (std::isnan(expected[i])) {  // hardware sets the quiet bit
      ASSERT_TRUE(std::isnan(out[i])) << i;
      continue;
    }
    ASSERT_EQ(std::bit_cast<std::uint32_t>(out[i]), std::bit_cast<std::uint32_t>(expected[i])) << i;
  }
}

TEST_P(Convert, EveryBrainFloatValueThereAndBack) {
  std::vector<bf16_t> from(65536), back(65536);
  for (std::size_t i = 0; i < from.size(); ++i) from[i].bits = static_cast<std::uint16_t>(i);
  std::vector<float> wide(from.size());
  convert(from.data(), wide.data(), 65536);
  convert(wide.data(), back.data(), 65536);
  for (std::size_t i = 0; i < from.size(); ++i) {
    const bool nan = std::isnan(to_float(from[i]));
    ASSERT_EQ(back[i].bits, nan ? from[i].bits | 0x40 : from[i].bits) << i;
  }
}

}  // namespace
}  // namespace reelm::kernels
