// The arithmetic of the references, against what they really answered.
#include "preprocess/sampling.h"

#include <limits>

#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::error_of;
using testing::golden;

SamplingOptions options_of(const Json& asked, Reference reference) {
  SamplingOptions o;
  o.reference = reference;
  const auto integer = [&](const char* key, std::optional<std::int64_t>& to) {
    if (asked.contains(key)) to = asked[key].get<std::int64_t>();
  };
  if (asked.contains("fps")) o.fps = asked["fps"].get<double>();
  integer("nframes", o.frames);
  integer("min_frames", o.min_frames);
  integer("max_frames", o.max_frames);
  integer("min_pixels", o.min_pixels);
  integer("max_pixels", o.max_pixels);
  integer("total_pixels", o.total_pixels);
  return o;
}

std::uint32_t crc_of(const std::vector<std::int64_t>& indices) {
  return testing::crc32({reinterpret_cast<const std::uint8_t*>(indices.data()),
                         indices.size() * sizeof(std::int64_t)});
}

/// Whether the reference's answer can be had at all: its torch.arange may pass the end by one.
bool usable(const Json& expected, std::int64_t total) {
  return !expected.is_null() && expected[2].get<std::int64_t>() < total;
}

TEST(Sampling, ChoosesTheFramesOfTheReferences) {
  int compared = 0, refused = 0;
  for (const Json& c : golden()["sampling"]) {
    const std::int64_t total = c[0];
    const double rate = c[1];
    for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
      const Json& expected = c[reference == Reference::kHf ? 4 : 3];
      const SamplingOptions options = options_of(c[2], reference);
      const std::int64_t n = frame_count(total, rate, 2, options);
      const auto indices = frame_indices({0, total - 1}, n, reference);
      ASSERT_FALSE(indices.empty());
      EXPECT_LT(indices.back(), total);
      if (!usable(expected, total)) {
        ++refused;
        continue;
      }
      ++compared;
      EXPECT_EQ(static_cast<std::int64_t>(indices.size()), expected[0]) << c;
      EXPECT_EQ(crc_of(indices), expected[1]) << c;
    }
  }
  EXPECT_GT(compared, 2000);
  EXPECT_GT(refused, 50);  // short videos: answered here, see below
}

TEST(Sampling, AnswersForVideosThatTheReferencesRefuse) {
  SamplingOptions o;
  EXPECT_EQ(frame_count(1, 30, 2, o), 2);
  EXPECT_EQ(frame_indices({0, 0}, 2, Reference::kQwenVlUtils), (std::vector<std::int64_t>{0, 0}));
  EXPECT_EQ(frame_indices({0, 0}, 2, Reference::kHf), (std::vector<std::int64_t>{0, 0}));
  o.frames = 64;
  EXPECT_EQ(frame_count(11, 30, 2, o), 10);
  EXPECT_EQ(frame_count(3, 30, 4, o), 4);
  EXPECT_EQ(frame_indices({5, 7}, 4, Reference::kHf), (std::vector<std::int64_t>{5, 6, 7, 7}));
}

TEST(Sampling, RangesOfTheReference) {
  for (const Json& c : golden()["ranges"]) {
    SamplingOptions o;
    if (!c[2].is_null()) o.from = c[2].get<double>();
    if (!c[3].is_null()) o.to = c[3].get<double>();
    if (!c[4].is_null()) {
      EXPECT_EQ(frame_range(c[0], c[1], o), (FrameRange{c[4][0], c[4][1]})) << c;
      continue;
    }
    // The reference refuses one frame; only none is refused here.
    try {
      EXPECT_EQ(frame_range(c[0], c[1], o).count(), 1) << c;
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument) << c;
    }
  }
}

TEST(Sampling, SmartResizeOfTheReferences) {
  for (const Json& c : golden()["smart_resize"]) {
    for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
      const Json& expected = c[reference == Reference::kHf ? 5 : 4];
      const auto ours = [&] {
        return smart_resize({c[0], c[1]}, 28, c[2], c[3].get<double>(), reference);
      };
      if (expected.is_null() || expected[0] == 0 || expected[1] == 0) {
        EXPECT_EQ(error_of(ours).code(), ErrorCode::kInvalidArgument) << c;
      } else {
        EXPECT_EQ(ours(), (Size{expected[0], expected[1]})) << c;
      }
    }
  }
}

TEST(Sampling, PixelBudgetOfQwenVlUtils) {
  for (const Json& c : golden()["budgets"]) {
    const SamplingOptions o = options_of(c[3], Reference::kQwenVlUtils);
    const PixelLimits limits = video_pixel_limits(c[2], 28, 2, o);
    EXPECT_EQ(smart_resize({c[0], c[1]}, 28, limits.min_pixels, limits.max_pixels, o.reference),
              (Size{c[4][0], c[4][1]}))
        << c;
    EXPECT_EQ(limits.capped, c[3].value("max_pixels", 0) == 5'000'000) << c;
  }
}

TEST(Sampling, ByTimeIsEvenInTimeWhereTheRateVaries) {
  std::vector<double> pts;
  for (int i = 0; i < 100; ++i) pts.push_back(i * 0.01);       // a second of 100 frames,
  for (int i = 1; i <= 9; ++i) pts.push_back(0.99 + i * 1.0);  // then one a second
  const auto by_index = frame_indices({0, 108}, 4, Reference::kQwenVlUtils);
  EXPECT_EQ(by_index, (std::vector<std::int64_t>{0, 36, 72, 108}));
  // 0, 3.33, 6.66 and 9.99 seconds.
  EXPECT_EQ(frame_indices_by_time({0, 108}, 4, pts), (std::vector<std::int64_t>{0, 101, 105, 108}));
  EXPECT_EQ(frame_indices_by_time({3, 3}, 2, pts), (std::vector<std::int64_t>{3, 3}));
}

TEST(Sampling, RefusesWhatMakesNoSense) {
  const auto refused = [](auto change) {
    SamplingOptions o;
    change(o);
    return error_of([&] { frame_count(100, 30, 2, o); }).code() == ErrorCode::kInvalidArgument;
  };
  EXPECT_TRUE(refused([](auto& o) { o.fps = 0.0; }));
  EXPECT_TRUE(refused([](auto& o) { o.fps = -1.0; }));
  EXPECT_TRUE(refused([](auto& o) { o.fps = std::numeric_limits<double>::quiet_NaN(); }));
  EXPECT_TRUE(refused([](auto& o) { o.frames = 0; }));
  EXPECT_TRUE(refused([](auto& o) { o.max_frames = 1; }));
  EXPECT_TRUE(refused([](auto& o) { o.frames = std::numeric_limits<std::int64_t>::max(); }));
  EXPECT_TRUE(refused([](auto& o) {
    o.fps = 2.0;
    o.frames = 8;
  }));
  SamplingOptions pixels;
  pixels.min_pixels = -5;
  EXPECT_EQ(error_of([&] { video_pixel_limits(4, 28, 2, pixels); }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] {
              smart_resize({10, 2001}, 28, 784, 1e6, Reference::kHf);
            }).code(),
            ErrorCode::kInvalidArgument);
  EXPECT_EQ(error_of([] {
              smart_resize({0, 10}, 28, 784, 1e6, Reference::kHf);
            }).code(),
            ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace reelm::preprocess
