// Decoded frames against PyAV, and how they are reached.
#include <algorithm>
#include <map>

#include "preprocess/frame_reader.h"
#include "preprocess/frame_runs.h"
#include "preprocess/media_impl.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::all_frames;
using testing::clip;
using testing::error_of;
using testing::frame_crcs;
using testing::golden;

double sum_of(TensorView<const std::uint8_t> image) {
  double sum = 0;
  for (std::int64_t y = 0; y < image.size(0); ++y) {
    for (std::int64_t i = 0; i < image.size(1) * 3; ++i) sum += image.row(y)[i];
  }
  return sum;
}

/// Between a frame and dense RGB bytes.
int largest_difference(TensorView<const std::uint8_t> image, const std::vector<std::byte>& dense) {
  int worst = 0;
  std::size_t at = 0;
  EXPECT_EQ(static_cast<std::size_t>(image.numel()), dense.size());
  for (std::int64_t y = 0; y < image.size(0); ++y) {
    for (std::int64_t i = 0; i < image.size(1) * 3 && at < dense.size(); ++i) {
      worst = std::max(worst, std::abs(image.row(y)[i] - static_cast<int>(dense[at++])));
    }
  }
  return worst;
}

/// What is said about a clip, and how PyAV's times of it differ from the index's.
struct Peculiar {
  std::string warning;
  enum { kSame, kRising, kUntold, kJoined, kLate } times = kSame;
};

const std::map<std::string, Peculiar> kPeculiar = {
    {"duplicates.mkv", {"contradict the order"}},
    {"hdr_hlg.mp4", {"HDR (arib-std-b67) is not tone-mapped"}},
    {"hdr_pq.mp4", {"HDR (smpte2084) is not tone-mapped"}},
    {"interlaced.mp4", {"interlaced (tt)"}},
    {"jump_back.ts", {"the clock begins again in 1 place", Peculiar::kJoined}},
    {"no_display_times.mp4", {"contradict the order", Peculiar::kRising}},
    {"raw.h264", {"15 of 15 frames carry no time", Peculiar::kUntold}},
    {"reordered.avi", {"", Peculiar::kLate}},
    {"swapped.mkv", {"contradict the order", Peculiar::kRising}},
    {"two_streams.mkv", {"2 video streams; stream 0 (64x48) is the one read"}},
};

/// Seconds that the index is to tell, from PyAV's.
std::vector<double> expected_times(const Json& pts, const Peculiar& peculiar) {
  std::vector<double> out;
  for (const Json& t : pts) {
    // A raw stream has no clock, but tells its rate.
    out.push_back(t.is_null() ? static_cast<double>(out.size()) / 30 : t.get<double>());
  }
  if (peculiar.times == Peculiar::kRising) std::sort(out.begin(), out.end());
  for (std::size_t i = 1; peculiar.times == Peculiar::kJoined && i < out.size(); ++i) {
    if (out[i] < out[i - 1]) out[i] = out[i - 1] + 1.0 / 30;
  }
  for (double& t : out) {  // AVI stores no display times: PyAV tells them one frame late
    if (peculiar.times == Peculiar::kLate) t -= 1.0 / 30;
  }
  return out;
}

void expect_warning(const std::vector<std::string>& warnings, const std::string& part,
                    const std::string& name) {
  ASSERT_EQ(warnings.size(), part.empty() ? 0u : 1u)
      << name << ": " << ::testing::PrintToString(warnings);
  if (!part.empty()) {
    EXPECT_NE(warnings[0].find(part), std::string::npos) << warnings[0];
    EXPECT_NE(warnings[0].find(name), std::string::npos) << warnings[0];
  }
}

// Every clip of tests/media that holds a video: docs/media.md.
TEST(Frames, PixelsAndTimesOfPyAv) {
  for (const auto& [name, expected] : golden()["frames"].items()) {
    const auto found = kPeculiar.find(name);
    const Peculiar peculiar = found == kPeculiar.end() ? Peculiar{} : found->second;
    Media media(MediaSource::from_path(clip(name)));
    const FrameIndex& index = media.frame_index();
    const std::vector<double> times = expected_times(expected["pts"], peculiar);
    ASSERT_EQ(index.pts.size(), times.size()) << name;
    expect_warning(index.warnings, peculiar.warning, name);
    EXPECT_FALSE(index.truncated) << name;
    FrameReader reader(media, all_frames(index.size()));
    RgbFrame frame;
    for (std::size_t i = 0; reader.next(frame); ++i) {
      EXPECT_EQ(frame.index, static_cast<std::int64_t>(i));
      EXPECT_NEAR(frame.pts, times[i], 2e-5) << name << " " << i;
      const Json& size = expected.contains("sizes") ? expected["sizes"][i] : expected["size"];
      EXPECT_EQ((Size{frame.pixels.size(0), frame.pixels.size(1)}), (Size{size[0], size[1]}))
          << name;
      if (i == 0 && expected.contains("first")) {
        EXPECT_LE(largest_difference(frame.pixels, testing::from_base64(expected["first"])), 1);
      }
      if (expected.contains("sum")) {  // not the same bytes: the golden's maker says why
        const double sum = expected["sum"][i].get<double>();
        EXPECT_NEAR(sum_of(frame.pixels), sum, 0.002 * sum) << name << " " << i;
      } else {
        EXPECT_EQ(testing::crc32(frame.pixels), expected["crc"][i]) << name << " frame " << i;
      }
    }
    expect_warning(reader.warnings(), name == "sizes.ts" ? "from 64x48 to 96x64 at frame 12" : "",
                   name);
  }
}

TEST(Frames, EveryFrameIsTheSameHoweverItIsReached) {
  for (const std::string& name : testing::golden_clips()) {
    Media media(MediaSource::from_path(clip(name)));
    const std::int64_t n = media.frame_index().size();
    const auto expected = frame_crcs(media, all_frames(n), {.allow_seek = false, .threads = 1});
    ASSERT_EQ(static_cast<std::int64_t>(expected.size()), n) << name;
    for (const int threads : {2, 4}) {
      EXPECT_EQ(frame_crcs(media, all_frames(n), {.threads = threads}), expected) << name;
    }
    for (std::int64_t i = 0; i < n; ++i) {  // one alone: from the nearest key frame
      ASSERT_EQ(frame_crcs(media, {i}, {.threads = 2})[0], expected[static_cast<std::size_t>(i)])
          << name << " frame " << i;
    }
    for (const std::int64_t step : {7, 13, 29}) {
      std::vector<std::int64_t> some;
      for (std::int64_t i = step / 2; i < n; i += step) some.push_back(i);
      const auto got = frame_crcs(media, some);
      for (std::size_t k = 0; k < some.size(); ++k) {
        ASSERT_EQ(got[k], expected[static_cast<std::size_t>(some[k])]) << name << " " << some[k];
      }
    }
  }
}

TEST(Frames, LongGapsAreSkippedAndUnreferencedFramesLeftOut) {
  Media media(MediaSource::from_path(clip("groups.mp4")));  // groups of 20
  FrameReader far(media, {59}, {}, nullptr, {.threads = 1});
  RgbFrame frame;
  ASSERT_TRUE(far.next(frame));
  EXPECT_LE(far.frames_decoded(), 20);
  FrameReader all(media, {59}, {}, nullptr, {.allow_seek = false, .threads = 1});
  ASSERT_TRUE(all.next(frame));
  EXPECT_GT(all.frames_decoded(), 20);
  EXPECT_LT(all.frames_decoded(), 60);  // B frames that nothing refers to
}

// Behind a seek the decoder withholds what leads the key frame, and when it is drained the frames
// behind that too: they must not be decoded again from the start, which is not done for every
// frame.
TEST(Frames, FramesBehindAnOpenGroupsKeyComeFromThere) {
  Media media(MediaSource::from_path(clip("many_open_groups.mp4")));  // groups of 15
  const std::int64_t n = media.frame_index().size();
  ASSERT_EQ(n, 150);
  for (std::int64_t i = 75; i < n; ++i) {
    FrameReader reader(media, {i}, {}, nullptr, {.threads = 1});
    RgbFrame frame;
    ASSERT_TRUE(reader.next(frame));
    EXPECT_LE(reader.frames_decoded(), 45) << "frame " << i;
    EXPECT_TRUE(reader.warnings().empty());
  }
}

TEST(Frames, RepeatedNumbersGiveTheSameFrame) {
  Media media(MediaSource::from_path(clip("groups.mp4")));
  const auto got = frame_crcs(media, {3, 3, 4, 40, 40, 40});
  ASSERT_EQ(got.size(), 6u);
  EXPECT_EQ(got[0], got[1]);
  EXPECT_NE(got[1], got[2]);
  EXPECT_EQ(got[3], got[5]);
}

TEST(Frames, NumbersOutOfOrderAreRefused) {
  Media media(MediaSource::from_path(clip("groups.mp4")));
  for (const auto& bad : {std::vector<std::int64_t>{60}, {-1}, {5, 4}}) {
    EXPECT_EQ(error_of([&] { FrameReader(media, bad); }).code(), ErrorCode::kInvalidArgument);
  }
}

TEST(Frames, RunsBeginAtKeyFramesThatComeFirstInBothOrders) {
  PacketTable table;
  // Stored: I0 P3 B1 B2 | I6 B4 B5 (lead the key frame: they need the group before) P9 B7 B8
  const int shown[] = {0, 3, 1, 2, 6, 4, 5, 9, 7, 8};
  table.position.resize(10);
  for (int i = 0; i < 10; ++i) {
    PacketEntry p;
    p.pts = shown[i];
    p.rank = shown[i];
    p.key = i == 0 || i == 4;
    table.packets.push_back(p);
    table.position[static_cast<std::size_t>(shown[i])] = i;
  }
  const auto start_of = [&](std::int64_t rank) {
    return plan_runs(table, {{rank}}, true)[0].start;
  };
  EXPECT_EQ(start_of(2), 0);
  EXPECT_EQ(start_of(4), 0);
  EXPECT_EQ(start_of(5), 0);
  EXPECT_EQ(start_of(6), 4);
  EXPECT_EQ(start_of(8), 4);
  EXPECT_EQ(plan_runs(table, {{8}}, false)[0].start, 0);
}

TEST(Frames, InfoSaysWhatTheStreamIs) {
  const Media media(MediaSource::from_path(clip("turned_90.mp4")));
  const StreamInfo& s = media.info().video();
  EXPECT_EQ(s.codec, "h264");
  EXPECT_EQ(s.rotation, 90);
  EXPECT_FALSE(s.flipped);
  EXPECT_EQ(s.width, 84);
  EXPECT_EQ(s.frame_count, 6);
  EXPECT_NEAR(s.fps, 30, 1e-9);
  EXPECT_EQ(s.bit_depth, 8);
  EXPECT_TRUE(Media(MediaSource::from_path(clip("mirrored.mp4"))).info().video().flipped);
  const Media full(MediaSource::from_path(clip("range_full.mp4")));
  EXPECT_EQ(full.info().video().color_range, "pc");
  const Media hd(MediaSource::from_path(clip("matrix_709.mp4")));
  EXPECT_EQ(hd.info().video().color_matrix, "bt709");
  EXPECT_EQ(Media(MediaSource::from_path(clip("ten_bit.mp4"))).info().video().bit_depth, 10);
  EXPECT_FALSE(Media(MediaSource::from_path(clip("no_count.mkv"))).info().video().frame_count);
}

}  // namespace
}  // namespace reelm::preprocess
