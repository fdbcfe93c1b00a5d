#include "vision/rotary_table.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "vision/cu_seqlens.h"

namespace reelm::vision {
namespace {

TEST(RotaryTable, RowsFollowThePatchOrder) {
  // 4 x 6 patches merged 2 x 2: the first four rows are the top left block, the next four the block
  // to its right, and so on; the first quarter of head_dim turns with the row.
  constexpr std::int64_t kH = 4, kW = 6, kHeadDim = 8;
  const RotaryTable table(kH, kW, 2, kHeadDim, 10000.0);
  std::int64_t i = 0;
  for (std::int64_t by = 0; by < kH; by += 2) {
    for (std::int64_t bx = 0; bx < kW; bx += 2) {
      for (std::int64_t y = by; y < by + 2; ++y) {
        for (std::int64_t x = bx; x < bx + 2; ++x, ++i) {
          for (std::int64_t j = 0; j < kHeadDim / 2; ++j) {
            const double position = static_cast<double>(j < 2 ? y : x);
            // inv_freq of spatial_dim = head_dim / 2 = 4: 1 and 1 / sqrt(10000).
            const double angle = position * (j % 2 == 0 ? 1.0 : 0.01);
            EXPECT_NEAR(table.cos().row(i)[j], std::cos(angle), 1e-6) << i << " " << j;
            EXPECT_NEAR(table.sin().row(i)[j], std::sin(angle), 1e-6) << i << " " << j;
          }
        }
      }
    }
  }
  EXPECT_EQ(i, table.cos().size(0));
}

TEST(RotaryTable, GroupsMayStandInAnotherOrder) {
  const std::vector<std::int64_t> order = {2, 0, 1, 5, 4, 3};
  const RotaryTable plain(4, 6, 2, 8, 10000.0), moved(4, 6, 2, 8, 10000.0, order);
  for (std::int64_t i = 0; i < 24; ++i) {
    const std::int64_t from = order[static_cast<std::size_t>(i / 4)] * 4 + i % 4;
    for (std::int64_t j = 0; j < 4; ++j) {
      EXPECT_EQ(moved.cos().row(i)[j], plain.cos().row(from)[j]) << i << " " << j;
      EXPECT_EQ(moved.sin().row(i)[j], plain.sin().row(from)[j]) << i << " " << j;
    }
  }
}

TEST(CuSeqlens, OneSliceATimestep) {
  EXPECT_EQ(cu_seqlens({3, 4, 6}), (std::vector<std::int64_t>{0, 24, 48, 72}));
  EXPECT_EQ(cu_seqlens({1, 2, 2}), (std::vector<std::int64_t>{0, 4}));
}

}  // namespace
}  // namespace reelm::vision
