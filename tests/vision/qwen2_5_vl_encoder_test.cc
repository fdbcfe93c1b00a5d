#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "tests/support/compare.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"
#include "vision/qwen2_5_vl/encoder.h"

namespace reelm::vision::qwen2_5_vl {
namespace {

using ::testing::HasSubstr;

constexpr GridThw kGrid = {2, 6, 10};  // 3 x 5 output rows a slice, windows of 2 x 2
constexpr std::int64_t kSlice = 6 * 10;

class Qwen25VlEncoderTest : public testing::ScratchDirTest {
 protected:
  void SetUp() override {
    ScratchDirTest::SetUp();
    test::write_random_model(dir_, "qwen2_5_vl_odd_f32");
    config_ = load_vision_config(dir_);
    checkpoint_ = std::make_shared<const Checkpoint>(Checkpoint::open(dir_));
  }

  std::unique_ptr<VisionEncoder> make(const VisionConfig& config) const {
    return make_encoder(config, layers::WeightReader(checkpoint_), kernels::ComputeType::kF32);
  }
  std::string error_of(const VisionConfig& config) const {
    try {
      (void)make(config);
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  }
  std::vector<float> noise(std::int64_t rows) const {
    std::mt19937 random(7);
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<std::size_t>(rows * config_.patch_dim()));
    for (float& v : out) v = normal(random);
    return out;
  }
  std::vector<float> encode(VisionEncoder& encoder, const float* pixels,
                            const GridThw& grid) const {
    const std::int64_t n = grid[0] * grid[1] * grid[2];
    std::vector<float> out(static_cast<std::size_t>(n / 4 * config_.hidden_size));
    encoder.encode({TensorView<const float>(pixels, {n, config_.patch_dim()}), grid},
                   {out.data(), {n / 4, config_.hidden_size}}, nullptr);
    return out;
  }

  VisionConfig config_;
  std::shared_ptr<const Checkpoint> checkpoint_;
};

TEST_F(Qwen25VlEncoderTest, SlicesAreIndependent) {
  const auto encoder = make(config_);
  const std::vector<float> pixels = noise(2 * kSlice);
  const std::vector<float> whole = encode(*encoder, pixels.data(), kGrid);
  std::vector<float> slices;
  for (std::int64_t t = 0; t < 2; ++t) {
    const std::vector<float> rows =
        encode(*encoder, pixels.data() + t * kSlice * config_.patch_dim(), {1, 6, 10});
    slices.insert(slices.end(), rows.begin(), rows.end());
  }
  EXPECT_TRUE(testing::all_close(slices, whole, {.atol = 1e-5, .rtol = 1e-4}));
}

TEST_F(Qwen25VlEncoderTest, WindowsSeeOneAnotherInFullBlocksOnly) {
  std::vector<float> pixels = noise(kSlice), changed = pixels;
  // A patch of the output row at (0, 3): its window is the one of columns 2 and 3, rows 0 and 1.
  changed[static_cast<std::size_t>(3 * 4 * config_.patch_dim())] += 5.0f;
  const auto rows_that_differ = [&](const VisionConfig& config) {
    const auto encoder = make(config);
    const std::vector<float> a = encode(*encoder, pixels.data(), {1, 6, 10});
    const std::vector<float> b = encode(*encoder, changed.data(), {1, 6, 10});
    std::vector<std::int64_t> out;
    for (std::int64_t row = 0; row < kSlice / 4; ++row) {
      const auto first = row * config.hidden_size;
      if (!std::equal(a.begin() + first, a.begin() + first + config.hidden_size,
                      b.begin() + first)) {
        out.push_back(row);
      }
    }
    return out;
  };
  VisionConfig windows_only = config_;
  windows_only.fullatt_block_indexes = {};
  EXPECT_THAT(rows_that_differ(windows_only), ::testing::ElementsAre(2, 3, 7, 8));
  EXPECT_EQ(rows_that_differ(config_).size(), 15u);
}

TEST_F(Qwen25VlEncoderTest, AnotherGridFollowsInTheSameEncoder) {
  const auto used = make(config_), fresh = make(config_);
  const std::vector<float> pixels = noise(2 * kSlice);
  (void)encode(*used, pixels.data(), kGrid);
  EXPECT_TRUE(testing::all_equal_bits(encode(*used, pixels.data(), {1, 10, 6}),
                                      encode(*fresh, pixels.data(), {1, 10, 6})));
}

TEST_F(Qwen25VlEncoderTest, TensorsThatDoNotFitAreNamed) {
  VisionConfig deeper = config_;
  deeper.depth = 5;
  EXPECT_THAT(error_of(deeper), HasSubstr("blocks.4.norm1.weight"));
  VisionConfig wider = config_;
  wider.intermediate_size = 36;
  EXPECT_THAT(error_of(wider),
              AllOf(HasSubstr("blocks.0.mlp.gate_proj.bias"), HasSubstr("35"), HasSubstr("36")));
}

}  // namespace
}  // namespace reelm::vision::qwen2_5_vl
