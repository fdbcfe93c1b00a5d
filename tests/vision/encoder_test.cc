#include "vision/qwen2_vl/encoder.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "core/error.h"
#include "tests/support/compare.h"

namespace reelm::vision::qwen2_vl {
namespace {

class EncoderTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    checkpoint_ = std::make_shared<const Checkpoint>(Checkpoint::open(REELM_DEMO_MODEL));
    encoder_ = make_encoder(load_vision_config(REELM_DEMO_MODEL), layers::WeightReader(checkpoint_),
                            kernels::ComputeType::kF32)
                   .release();
  }
  static void TearDownTestSuite() {
    delete encoder_;
    checkpoint_.reset();
  }

  /// Rows [n, patch_dim] of noise.
  static std::vector<float> noise(std::int64_t n, unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    std::vector<float> out(static_cast<std::size_t>(n * encoder_->patch_dim()));
    for (float& v : out) v = normal(random);
    return out;
  }
  static std::vector<float> encode(const std::vector<float>& pixels, GridThw grid) {
    const std::int64_t n = grid[0] * grid[1] * grid[2];
    std::vector<float> out(static_cast<std::size_t>(n / 4 * encoder_->hidden_size()));
    encoder_->encode({TensorView<const float>(pixels.data(), {n, encoder_->patch_dim()}), grid},
                     {out.data(), {n / 4, encoder_->hidden_size()}}, nullptr);
    return out;
  }

  static inline std::shared_ptr<const Checkpoint> checkpoint_;
  static inline VisionEncoder* encoder_ = nullptr;
};

TEST_F(EncoderTest, SlicesAreIndependent) {
  // A long video is encoded slice by slice: it must be the same as all at once.
  const GridThw grid = {3, 4, 6};
  const std::vector<float> pixels = noise(3 * 24, 1);
  const std::vector<float> whole = encode(pixels, grid);
  std::vector<float> slices;
  for (std::ptrdiff_t t = 0; t < 3; ++t) {
    const std::ptrdiff_t step = 24 * encoder_->patch_dim();
    const std::vector<float> slice(pixels.begin() + t * step, pixels.begin() + (t + 1) * step);
    const std::vector<float> rows = encode(slice, {1, 4, 6});
    slices.insert(slices.end(), rows.begin(), rows.end());
  }
  EXPECT_TRUE(testing::all_close(slices, whole, {.atol = 1e-5, .rtol = 1e-4}));
}

TEST_F(EncoderTest, TheGridMatters) {
  const std::vector<float> pixels = noise(24, 2);
  EXPECT_FALSE(testing::all_close(encode(pixels, {1, 4, 6}), encode(pixels, {1, 6, 4}),
                                  {.atol = 1e-3, .rtol = 1e-3}));
}

TEST_F(EncoderTest, SizesThatDoNotFitAreRefused) {
  const std::vector<float> pixels = noise(24, 3);
  EXPECT_THROW(encode(pixels, {1, 3, 8}), Error);  // h is not a multiple of 2
  EXPECT_THROW(encode(pixels, {0, 4, 6}), Error);
  std::vector<float> out(6 * static_cast<std::size_t>(encoder_->hidden_size()));
  const TensorView<float> rows(out.data(), {6, encoder_->hidden_size()});
  const TensorView<const float> short_pixels(pixels.data(), {20, encoder_->patch_dim()});
  EXPECT_THROW(encoder_->encode({short_pixels, {1, 4, 6}}, rows, nullptr), Error);
  const TensorView<float> short_rows(out.data(), {5, encoder_->hidden_size()});
  const TensorView<const float> all(pixels.data(), {24, encoder_->patch_dim()});
  EXPECT_THROW(encoder_->encode({all, {1, 4, 6}}, short_rows, nullptr), Error);
}

TEST_F(EncoderTest, CancelIsObeyed) {
  const std::vector<float> pixels = noise(24, 4);
  std::vector<float> out(6 * static_cast<std::size_t>(encoder_->hidden_size()));
  CancelToken cancel;
  cancel.cancel();
  EXPECT_THROW(encoder_->encode(
                   {TensorView<const float>(pixels.data(), {24, encoder_->patch_dim()}), {1, 4, 6}},
                   {out.data(), {6, encoder_->hidden_size()}}, &cancel),
               Error);
}

TEST_F(EncoderTest, AMissingTensorIsNamed) {
  VisionConfig config = load_vision_config(REELM_DEMO_MODEL);
  config.depth = 5;
  try {
    (void)make_encoder(config, layers::WeightReader(checkpoint_), kernels::ComputeType::kF32);
    FAIL() << "a block that is not there was loaded";
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("blocks.4."), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace reelm::vision::qwen2_vl
