#include "tests/support/compare.h"

#include <limits>
#include <vector>

namespace reelm::testing {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(Compare, AcceptsWhatIsWithinTheBound) {
  EXPECT_TRUE(is_close(1.0, 1.0, {}));
  EXPECT_TRUE(is_close(1.5, 1.0, {.atol = 0.5}));
  EXPECT_TRUE(is_close(110.0, 100.0, {.rtol = 0.1}));
  EXPECT_TRUE(is_close(111.0, 100.0, {.atol = 1.0, .rtol = 0.1}));
}

TEST(Compare, RejectsWhatIsOutside) {
  EXPECT_FALSE(is_close(1.51, 1.0, {.atol = 0.5}));
  EXPECT_FALSE(is_close(0.49, 1.0, {.atol = 0.5}));
  EXPECT_FALSE(is_close(111.0, 100.0, {.rtol = 0.1}));
  EXPECT_FALSE(is_close(100.0, 0.0, {.rtol = 0.5}));  // relative to the expected value, which is 0
}

TEST(Compare, NanNeverPasses) {
  const Tolerance anything = {.atol = 1e30, .rtol = 1e30};
  EXPECT_FALSE(is_close(kNan, 1.0, anything));
  EXPECT_FALSE(is_close(1.0, kNan, anything));
  EXPECT_FALSE(is_close(kNan, kNan, anything));
  EXPECT_FALSE(is_close(1.0, 1.0 + 1.0, {.atol = kNan}));
}

TEST(Compare, InfinityPassesOnlyAgainstItself) {
  const Tolerance anything = {.atol = kInf, .rtol = kInf};
  EXPECT_TRUE(is_close(kInf, kInf, {}));
  EXPECT_FALSE(is_close(kInf, -kInf, anything));
  EXPECT_FALSE(is_close(kInf, 1.0, anything));
  EXPECT_FALSE(is_close(1.0, kInf, anything));
}

TEST(Compare, ReportsSizesFirstAndWorst) {
  const std::vector<float> expected = {1, 2, 3, 4};
  EXPECT_TRUE(all_close(expected, expected, {}));
  EXPECT_TRUE(all_close(std::vector<float>{}, std::vector<float>{}, {}));
  EXPECT_FALSE(all_close(std::vector<float>{1, 2, 3}, expected, {.atol = 100}));
  const auto result = all_close(std::vector<float>{1, 2.5, 3, 9}, expected, {.atol = 0.1});
  ASSERT_FALSE(result);
  const std::string message = result.message();
  EXPECT_NE(message.find("2 of 4"), std::string::npos) << message;
  EXPECT_NE(message.find("first [1]"), std::string::npos) << message;
  EXPECT_NE(message.find("worst [3]"), std::string::npos) << message;
}

TEST(Compare, NanIsReportedAsTheWorst) {
  const auto result = all_close(std::vector<float>{5, kNan}, std::vector<float>{1, 2}, {});
  ASSERT_FALSE(result);
  EXPECT_NE(std::string(result.message()).find("worst [1]"), std::string::npos);
}

TEST(Compare, BitsTellZerosApart) {
  EXPECT_TRUE(all_equal_bits(std::vector<float>{1, kNan}, std::vector<float>{1, kNan}));
  EXPECT_FALSE(all_equal_bits(std::vector<float>{0.0f}, std::vector<float>{-0.0f}));
  EXPECT_FALSE(all_equal_bits(std::vector<float>{0.0f}, std::vector<float>{}));
}

}  // namespace
}  // namespace reelm::testing
