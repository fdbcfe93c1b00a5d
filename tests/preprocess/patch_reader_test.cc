// The stream of slices: the same patches as its parts, slice by slice.
#include "preprocess/patch_reader.h"

#include "core/parallel.h"
#include "preprocess/patchify.h"
#include "preprocess/resize.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::clip;
using testing::error_of;

std::vector<std::uint32_t> slice_crcs(const char* name, const SamplingOptions& options = {}) {
  const PreprocessorConfig config;
  Media media(MediaSource::from_path(clip(name)));
  PatchReader reader(media, plan_media(media, config, options), config);
  std::vector<std::uint32_t> out;
  PatchBatch slice;
  while (reader.next(slice)) {
    out.push_back(testing::crc32({reinterpret_cast<const std::uint8_t*>(slice.pixels.data()),
                                  static_cast<std::size_t>(slice.pixels.numel()) * 4}));
  }
  return out;
}

TEST(PatchReader, SlicesAreTheResizedFramesInPatches) {
  const PreprocessorConfig config;
  const NormalizeTable table = make_normalize_table(config);
  for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
    SamplingOptions options;
    options.frames = 6;
    options.reference = reference;
    Media media(MediaSource::from_path(clip("groups.mp4")));
    const MediaPlan plan = plan_media(media, config, options);
    PatchReader reader(media, plan, config);
    Media again(MediaSource::from_path(clip("groups.mp4")));
    FrameReader frames(again, plan.frame_indices);
    Resizer resizer(
        plan.source, plan.resized,
        reference == Reference::kHf ? ResizeMode::kTorchUint8 : ResizeMode::kTorchFloat);
    PatchBatch slice;
    const auto [t, h, w] = plan.grid_thw;
    EXPECT_EQ(reader.slice_index(), -1);
    for (std::int64_t s = 0; s < t; ++s) {
      ASSERT_TRUE(reader.next(slice));
      EXPECT_EQ(slice.grid_thw, (GridThw{1, h, w}));
      ASSERT_EQ(slice.pixels.size(0), h * w);
      ASSERT_EQ(slice.pixels.size(1), 1176);
      EXPECT_EQ(reader.slice_index(), s);
      const auto at = static_cast<std::size_t>(2 * s);
      EXPECT_EQ(reader.frame_pts(),
                (std::vector<double>{plan.frame_pts[at], plan.frame_pts[at + 1]}));
      std::vector<std::uint8_t> pair(
          static_cast<std::size_t>(plan.resized.height * plan.resized.width * 6));
      for (std::int64_t f = 0; f < 2; ++f) {
        RgbFrame frame;
        ASSERT_TRUE(frames.next(frame));
        resizer.run(frame.pixels, {pair.data() + pair.size() / 2 * static_cast<std::size_t>(f),
                                   {plan.resized.height, plan.resized.width, 3}});
      }
      ASSERT_EQ(std::vector<std::uint8_t>(reader.frames().data(),
                                          reader.frames().data() + reader.frames().numel()),
                pair);
      std::vector<float> patches(static_cast<std::size_t>(h * w * 1176));
      patchify({pair.data(), {2, plan.resized.height, plan.resized.width, 3}}, table, config,
               {patches.data(), {h * w, 1176}});
      ASSERT_EQ(std::vector<float>(slice.pixels.data(), slice.pixels.data() + slice.pixels.numel()),
                patches);
    }
    EXPECT_FALSE(reader.next(slice));
    EXPECT_FALSE(reader.next(slice));
    EXPECT_TRUE(reader.warnings().empty());
    EXPECT_GT(reader.times().resize, 0);
    EXPECT_GT(reader.times().patchify, 0);
  }
}

TEST(PatchReader, ThreadsChangeNothing) {
  set_num_threads(1);
  const auto expected = slice_crcs("groups.mp4");
  for (const int threads : {2, 3}) {
    set_num_threads(threads);
    EXPECT_EQ(slice_crcs("groups.mp4"), expected);
  }
  set_num_threads(0);
}

TEST(PatchReader, OneFrameFillsASlice) {
  const PreprocessorConfig config;
  Media media(MediaSource::from_path(clip("one_frame.mp4")));
  PatchReader reader(media, plan_media(media, config), config);
  PatchBatch slice;
  ASSERT_TRUE(reader.next(slice));
  const auto frames = reader.frames();
  EXPECT_EQ(std::vector<std::uint8_t>(frames.row(0), frames.row(1)),
            std::vector<std::uint8_t>(frames.row(1), frames.row(1) + frames.stride(0)));
  EXPECT_FALSE(reader.next(slice));
}

TEST(PatchReader, AnImageIsOneSliceOfADoubledFrame) {
  const PreprocessorConfig config;
  Media media(MediaSource::from_path(testing::kSource / "tests/goldens/media/square.png"));
  const MediaPlan plan = plan_media(media, config);
  EXPECT_TRUE(plan.is_image);
  EXPECT_EQ(plan.grid_thw[0], 1);
  PatchReader reader(media, plan, config);
  PatchBatch slice;
  ASSERT_TRUE(reader.next(slice));
  const auto frames = reader.frames();
  EXPECT_EQ(std::vector<std::uint8_t>(frames.row(0), frames.row(1)),
            std::vector<std::uint8_t>(frames.row(1), frames.row(1) + frames.stride(0)));
  EXPECT_FALSE(reader.next(slice));
}

TEST(PatchReader, APlanForSomethingElseIsRefused) {
  const PreprocessorConfig config;
  Media media(MediaSource::from_path(clip("groups.mp4")));
  MediaPlan plan = plan_media(media, config);
  const auto code = [&](const MediaPlan& p, const PreprocessorConfig& c) {
    return error_of([&] { PatchReader(media, p, c); }).code();
  };
  MediaPlan bad = plan;
  bad.frame_indices.back() = 60;
  EXPECT_EQ(code(bad, config), ErrorCode::kInvalidArgument);
  bad = plan;
  bad.grid_thw[0] += 1;
  EXPECT_EQ(code(bad, config), ErrorCode::kInvalidArgument);
  bad = plan;
  bad.is_image = true;
  EXPECT_EQ(code(bad, config), ErrorCode::kInvalidArgument);
  PreprocessorConfig other;
  other.patch_size = 16;
  EXPECT_EQ(code(plan, other), ErrorCode::kInvalidArgument);
}

TEST(PatchReader, CancelEndsTheStream) {
  const PreprocessorConfig config;
  CancelToken cancel;
  Media media(MediaSource::from_path(clip("groups.mp4")));
  PatchReader reader(media, plan_media(media, config), config, {}, &cancel);
  PatchBatch slice;
  ASSERT_TRUE(reader.next(slice));
  cancel.cancel();
  EXPECT_EQ(error_of([&] { reader.next(slice); }).code(), ErrorCode::kCancelled);
}

}  // namespace
}  // namespace reelm::preprocess
