// What a plan promises before anything is decoded.
#include "preprocess/plan.h"

#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::clip;
using testing::error_of;

MediaPlan plan_of(const char* name, const SamplingOptions& options = {},
                  const PreprocessorConfig& config = {}, const Limits& limits = {}) {
  Media media(MediaSource::from_path(clip(name)));
  return plan_media(media, config, options, limits);
}

TEST(Plan, DefaultsOfQwenVlUtils) {
  const MediaPlan plan = plan_of("groups.mp4");  // 60 frames, 30 a second, 96x64
  EXPECT_EQ(plan.frame_indices, (std::vector<std::int64_t>{0, 20, 39, 59}));
  EXPECT_EQ(plan.total_frames, 60);
  EXPECT_NEAR(plan.duration_seconds, 2.0, 1e-9);
  EXPECT_NEAR(plan.video_fps, 30.0, 1e-9);
  EXPECT_NEAR(plan.sample_fps, 2.0, 1e-9);
  EXPECT_EQ(plan.source, (Size{64, 96}));
  EXPECT_EQ(plan.resized, (Size{280, 392}));  // at least 128 tokens
  EXPECT_EQ(plan.grid_thw, (GridThw{2, 20, 28}));
  EXPECT_EQ(plan.n_vision_tokens, 280);
  EXPECT_NEAR(plan.frame_pts[1], 20.0 / 30, 1e-9);
  EXPECT_TRUE(plan.warnings.empty());
}

TEST(Plan, OptionsThenConfigThenConstants) {
  PreprocessorConfig config;
  config.video_min_pixels = 784;
  config.video_max_pixels = 28 * 28 * 8;
  config.max_frames = 2;
  MediaPlan plan = plan_of("groups.mp4", {}, config);
  EXPECT_EQ(plan.frame_indices.size(), 2u);
  EXPECT_EQ(plan.n_vision_tokens, 6);  // 56x84
  SamplingOptions options;
  options.max_frames = 6;
  options.min_frames = 6;
  options.max_pixels = 784 * 3;
  plan = plan_of("groups.mp4", options, config);
  EXPECT_EQ(plan.frame_indices.size(), 6u);
  EXPECT_EQ(plan.resized, (Size{28, 56}));
  // A maximum below the model's minimum is meant.
  config.video_min_pixels = 78400;
  config.video_max_pixels = 784000;
  EXPECT_LE(plan_of("groups.mp4", options, config).resized.height, 28);
}

TEST(Plan, ImageLimitsOfTheConfigDoNotTouchVideos) {
  PreprocessorConfig config;
  config.image_min_pixels = 4 * 784;
  config.image_max_pixels = 4 * 784;
  EXPECT_EQ(plan_of("groups.mp4", {}, config).n_vision_tokens, 280);
}

TEST(Plan, RotationSwapsTheSides) {
  EXPECT_EQ(plan_of("turned_90.mp4").source, (Size{84, 48}));
  EXPECT_EQ(plan_of("turned_180.mp4").source, (Size{48, 84}));
  EXPECT_EQ(plan_of("mirrored_90.mp4").source, (Size{84, 48}));
}

TEST(Plan, TrueTimesAndEvenTimes) {
  SamplingOptions options;
  options.frames = 4;
  const MediaPlan by_index = plan_of("varying.mp4", options);
  options.sample = SampleBy::kTime;
  const MediaPlan by_time = plan_of("varying.mp4", options);
  ASSERT_EQ(by_time.frame_pts.size(), 4u);
  const double last = by_time.frame_pts[3];
  EXPECT_GT(last, 3.0);
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(by_time.frame_pts[static_cast<std::size_t>(i)], last * i / 3, 0.17);
  }
  EXPECT_LT(by_index.frame_pts[1], 0.5);  // half of the frames are in the first third of a second
}

TEST(Plan, PartsOfAVideo) {
  SamplingOptions options;
  options.from = 1.0;
  options.to = 1.5;
  options.fps = 8.0;
  const MediaPlan plan = plan_of("groups.mp4", options);
  EXPECT_EQ(plan.range, (FrameRange{30, 45}));
  EXPECT_EQ(plan.frame_indices.front(), 30);
  EXPECT_EQ(plan.frame_indices.back(), 45);
  options.from = 5.0;
  options.to = 6.0;
  EXPECT_EQ(error_of([&] { plan_of("groups.mp4", options); }).code(), ErrorCode::kInvalidArgument);
}

TEST(Plan, ShortVideosAreRepeatedAndSaySo) {
  const MediaPlan plan = plan_of("one_frame.mp4");
  EXPECT_EQ(plan.frame_indices, (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(plan.grid_thw[0], 1);
  ASSERT_EQ(plan.warnings.size(), 1u);
  SamplingOptions options;
  options.frames = 100;
  const MediaPlan many = plan_of("pictures.gif", options);
  EXPECT_EQ(many.frame_indices.size(), 4u);
  EXPECT_EQ(many.warnings.size(), 1u);
}

TEST(Plan, LimitsHoldBeforeDecoding) {
  SamplingOptions options;
  options.frames = 40;
  const Error e = error_of([&] { plan_of("groups.mp4", options, {}, {.frames_kept = 30}); });
  EXPECT_EQ(e.code(), ErrorCode::kLimit);
  EXPECT_NE(std::string(e.what()).find("frames-kept"), std::string::npos) << e.what();
}

TEST(Plan, TooLargeAWishIsCappedAndSaysSo) {
  SamplingOptions options;
  options.max_pixels = 5'000'000;
  EXPECT_EQ(plan_of("groups.mp4", options).warnings.size(), 1u);
  options.reference = Reference::kHf;
  EXPECT_TRUE(plan_of("groups.mp4", options).warnings.empty());
}

}  // namespace
}  // namespace reelm::preprocess
