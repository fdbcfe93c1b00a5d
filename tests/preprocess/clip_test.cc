// Frames and sizes of Qwen3VLVideoProcessor, against what it really answered.
#include "preprocess/plan.h"
#include "preprocess/sampling_clip.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::clip;
using testing::kSource;
using testing::TemporaryFolder;

/// Made again by tools/make_clip_goldens.py.
Json clips() { return read_json_file(kSource / "tests" / "goldens" / "clips.json"); }

TEST(Clip, ChoosesTheFramesOfTheReference) {
  const Json golden = clips();
  ASSERT_FALSE(golden["frames"].empty());
  for (const Json& c : golden["frames"]) {
    const auto total = c[0].get<std::int64_t>();
    SamplingOptions o;
    o.reference = Reference::kHf;
    if (c[2].contains("fps")) o.fps = c[2]["fps"].get<double>();
    if (c[2].contains("nframes")) o.frames = c[2]["nframes"].get<std::int64_t>();
    if (c[2].contains("min_frames")) o.min_frames = c[2]["min_frames"].get<std::int64_t>();
    if (c[2].contains("max_frames")) o.max_frames = c[2]["max_frames"].get<std::int64_t>();
    const std::int64_t n = clip_frame_count(total, c[1].get<double>(), o);
    EXPECT_EQ(clip_frame_indices({0, total - 1}, n), c[3].get<std::vector<std::int64_t>>())
        << c.dump();
  }
}

TEST(Clip, ResizesAsTheReference) {
  const Json golden = clips();
  ASSERT_FALSE(golden["sizes"].empty());
  PreprocessorConfig config;
  config.patch_size = 16;
  for (const Json& c : golden["sizes"]) {
    config.video_min_pixels = c[3].get<std::int64_t>();
    config.video_max_pixels = c[4].get<std::int64_t>();
    const Size size = clip_size({c[1].get<std::int64_t>(), c[2].get<std::int64_t>()},
                                c[0].get<std::int64_t>(), config, {});
    EXPECT_EQ(size, (Size{c[5][0].get<std::int64_t>(), c[5][1].get<std::int64_t>()})) << c.dump();
  }
}

TEST(Clip, TheFileSaysThatItsLimitsAreOfWholeClips) {
  const TemporaryFolder folder;
  folder.write("video_preprocessor_config.json",
               R"({"video_processor_type": "Qwen3VLVideoProcessor", "patch_size": 16,
                   "size": {"shortest_edge": 4096, "longest_edge": 32768}})");
  const PreprocessorConfig config = load_preprocessor_config(folder.path());
  EXPECT_TRUE(config.bounds_whole_clips);
  EXPECT_EQ(config.max_video_tokens, 768);
  Media media(MediaSource::from_path(clip("groups.mp4")));  // 60 frames, 30 a second, 96x64
  // qwen-vl-utils bounds single frames, by its constants: at least 128 tokens of 32 x 32.
  EXPECT_EQ(plan_media(media, config).resized, (Size{320, 448}));
  SamplingOptions o;
  o.reference = Reference::kHf;
  EXPECT_EQ(plan_media(media, config, o).resized, (Size{64, 96}));  // 4 frames of 6144 pixels
  o.max_pixels = 3072;
  EXPECT_EQ(plan_media(media, config, o).resized, (Size{32, 64}));
  o.max_pixels.reset();
  o.frames = 5;
  const MediaPlan odd = plan_media(media, config, o);
  EXPECT_EQ(odd.frame_indices, (std::vector<std::int64_t>{0, 15, 30, 44, 59, 59}));
  EXPECT_EQ(odd.grid_thw[0], 3);
}

// Of each temporal patch the middle of its frames: (0 + 20) / 2 / 30 and (39 + 59) / 2 / 30.
TEST(Clip, PatchesHaveTimes) {
  Media media(MediaSource::from_path(clip("groups.mp4")));
  const MediaPlan plan = plan_media(media, {});
  ASSERT_EQ(plan.slice_seconds.size(), 2u);
  EXPECT_NEAR(plan.slice_seconds[0], 10.0 / 30, 1e-12);
  EXPECT_NEAR(plan.slice_seconds[1], 49.0 / 30, 1e-12);
  // By true times where frames are chosen by them.
  Media varying(MediaSource::from_path(clip("varying.mp4")));
  SamplingOptions options;
  options.sample = SampleBy::kTime;
  const MediaPlan by_time = plan_media(varying, {}, options);
  for (std::size_t i = 0; i < by_time.slice_seconds.size(); ++i) {
    const double middle = (by_time.frame_pts[2 * i] + by_time.frame_pts[2 * i + 1]) / 2;
    EXPECT_NEAR(by_time.slice_seconds[i], middle - by_time.start_seconds, 1e-9);
  }
}

}  // namespace
}  // namespace reelm::preprocess
