#include "vision/qwen2_5_vl/window_order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

namespace reelm::vision::qwen2_5_vl {
namespace {

using ::testing::ElementsAre;

TEST(WindowOrder, EdgesHaveSmallerWindows) {
  // 3 x 5 groups of 2 x 2 patches in windows of 2 x 2: the order worked out on paper.
  const WindowOrder order(6, 10, 2, 2);
  EXPECT_THAT(order.groups(), ElementsAre(0, 1, 5, 6, 2, 3, 7, 8, 4, 9, 10, 11, 12, 13, 14));
  EXPECT_THAT(order.cu_seqlens(1), ElementsAre(0, 16, 32, 40, 48, 56, 60));
  EXPECT_THAT(order.cu_seqlens(2),
              ElementsAre(0, 16, 32, 40, 48, 56, 60, 76, 92, 100, 108, 116, 120));
}

TEST(WindowOrder, AWindowAsLargeAsTheSliceIsNoOrder) {
  for (const std::int64_t side : {3, 4, 1000}) {
    const WindowOrder order(4, 6, 2, side);
    EXPECT_THAT(order.groups(), ElementsAre(0, 1, 2, 3, 4, 5)) << side;
    EXPECT_THAT(order.cu_seqlens(1), ElementsAre(0, 24)) << side;
  }
}

TEST(WindowOrder, ScatterTakesGatherBack) {
  const WindowOrder order(6, 10, 2, 2);
  constexpr std::int64_t kRows = 2 * 60, kWidth = 3;  // two slices
  std::vector<float> rows(kRows * kWidth), moved(rows.size()), back(rows.size());
  std::iota(rows.begin(), rows.end(), 0.0f);
  const TensorView<float> to(moved.data(), {kRows, kWidth});
  order.gather({rows.data(), {kRows, kWidth}}, to);
  // The third group is the sixth of patchify; slices keep their places.
  EXPECT_EQ(to.row(8)[0], rows[5 * 4 * kWidth]);
  EXPECT_EQ(to.row(60 + 8)[0], rows[(60 + 5 * 4) * kWidth]);
  order.scatter({moved.data(), {kRows, kWidth}}, {back.data(), {kRows, kWidth}});
  EXPECT_EQ(back, rows);
}

}  // namespace
}  // namespace reelm::vision::qwen2_5_vl
