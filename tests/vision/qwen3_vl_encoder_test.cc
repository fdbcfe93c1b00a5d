#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "tests/support/compare.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"
#include "vision/qwen3_vl/encoder.h"
#include "vision/qwen3_vl/position_grid.h"

namespace reelm::vision::qwen3_vl {
namespace {

using ::testing::HasSubstr;

class Qwen3VlEncoderTest : public testing::ScratchDirTest {
 protected:
  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "qwen3_vl_odd_f32");
    config_ = load_vision_config(dir_);
    checkpoint_ = std::make_shared<const Checkpoint>(Checkpoint::open(dir_));
  }

  std::unique_ptr<VisionEncoder> make(const VisionConfig& config) const {
    return make_encoder(config, layers::WeightReader(checkpoint_), kernels::ComputeType::kF32);
  }
  std::vector<float> noise(std::int64_t rows) const {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<std::size_t>(rows * config_.patch_dim()));
    for (float& v : out) v = normal(random);
    return out;
  }
  static std::vector<float> encode(VisionEncoder& encoder, const float* pixels,
                                   const GridThw& grid) {
    const std::int64_t n = grid[0] * grid[1] * grid[2];
    std::vector<float> out(static_cast<std::size_t>(n / 4 * encoder.row_size()));
    encoder.encode({TensorView<const float>(pixels, {n, encoder.patch_dim()}), grid},
                   {out.data(), {n / 4, encoder.row_size()}}, nullptr);
    return out;
  }

  VisionConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(Qwen3VlEncoderTest, SlicesAreIndependent) {
  const auto encoder = make(config_);
  const std::vector<float> pixels = noise(2 * 60);
  const std::vector<float> whole = encode(*encoder, pixels.data(), {2, 6, 10});
  std::vector<float> slices;
  for (std::int64_t t = 0; t < 2; ++t) {
    const std::vector<float> rows =
        encode(*encoder, pixels.data() + t * 60 * config_.patch_dim(), {1, 6, 10});
    slices.insert(slices.end(), rows.begin(), rows.end());
  }
  EXPECT_TRUE(testing::all_close(slices, whole, {.atol = 1e-5, .rtol = 1e-4}));
}

// Rows of a model without deep-stack features are the front of those with them: nothing else
// changes, and the features stand behind.
TEST_F(Qwen3VlEncoderTest, FeaturesStandBehindTheRows) {
  VisionConfig plain = config_;
  plain.deepstack_visual_indexes = {};
  const auto with = make(config_), without = make(plain);
  EXPECT_EQ(with->deepstack_layers(), 3);
  EXPECT_EQ(with->row_size(), 4 * config_.hidden_size);
  EXPECT_EQ(without->row_size(), config_.hidden_size);
  const std::vector<float> pixels = noise(24);
  const std::vector<float> rows = encode(*with, pixels.data(), {1, 4, 6});
  const std::vector<float> expected = encode(*without, pixels.data(), {1, 4, 6});
  std::vector<float> front;
  for (std::int64_t row = 0; row < 6; ++row) {
    const auto first = rows.begin() + row * with->row_size();
    front.insert(front.end(), first, first + config_.hidden_size);
  }
  EXPECT_TRUE(testing::all_equal_bits(front, expected));
}

TEST_F(Qwen3VlEncoderTest, AnotherGridFollowsInTheSameEncoder) {
  const auto used = make(config_), fresh = make(config_);
  const std::vector<float> pixels = noise(60);
  (void)encode(*used, pixels.data(), {1, 6, 10});
  EXPECT_TRUE(testing::all_equal_bits(encode(*used, pixels.data(), {1, 10, 6}),
                                      encode(*fresh, pixels.data(), {1, 10, 6})));
}

TEST_F(Qwen3VlEncoderTest, TensorsThatDoNotFitAreNamed) {
  VisionConfig more = config_;
  more.deepstack_visual_indexes = {0, 1, 2, 3};
  try {
    (void)make(more);
    FAIL() << "expected an error";
  } catch (const Error& e) {
    EXPECT_THAT(e.what(), HasSubstr("deepstack_merger_list.3.norm.weight"));
  }
}

// A grid as large as the table takes its rows as they are, in the order of patchify; one of half
// the steps takes their means.
TEST(PositionGrid, InterpolatesBetweenCorners) {
  std::vector<float> table(16 * 2);
  for (std::size_t i = 0; i < 16; ++i) {
    table[2 * i] = static_cast<float>(i / 4 * 10);  // by row
    table[2 * i + 1] = static_cast<float>(i % 4);   // by column
  }
  const TensorView<const float> view(table.data(), {16, 2});
  std::vector<float> same(32, 1.0f);
  add_positions(view, 4, 4, 4, 2, {same.data(), {16, 2}});
  EXPECT_THAT(std::vector<float>(same.begin(), same.begin() + 10),
              ::testing::ElementsAre(1, 1, 1, 2, 11, 1, 11, 2, 1, 3));  // a group, then the next
  EXPECT_THAT(std::vector<float>(same.end() - 2, same.end()), ::testing::ElementsAre(31, 4));

  std::vector<float> finer(2 * 14 * 2, 0.0f);  // 2 x 7 patches of both slices: columns by halves
  add_positions(view, 4, 2, 7, 1, {finer.data(), {28, 2}});
  EXPECT_THAT(std::vector<float>(finer.begin(), finer.begin() + 6),
              ::testing::ElementsAre(0, 0, 0, 0.5f, 0, 1));
  EXPECT_THAT(std::vector<float>(finer.end() - 2, finer.end()), ::testing::ElementsAre(30, 3));
}

}  // namespace
}  // namespace reelm::vision::qwen3_vl
