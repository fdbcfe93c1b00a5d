// What is promised of each kind of media beyond the pixels of PyAV (Frames): docs/media.md has the
// table.
#include <fmt/format.h>

#include <cstring>
#include <numeric>

#include "preprocess/patch_reader.h"
#include "preprocess/resize.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::all_frames;
using testing::clip;
using testing::error_of;
using testing::frame_crcs;
using testing::read_file;
using testing::TemporaryFolder;

Media open(const std::string& name) { return Media(MediaSource::from_path(clip(name))); }

MediaPlan plan_of(const std::string& name, const SamplingOptions& options = {}) {
  Media media = open(name);
  return plan_media(media, {}, options);
}

/// The error that opening and planning a clip ends with.
Error refusal_of(const std::string& name) {
  return error_of([&] { plan_of(name); });
}

std::size_t find(const std::vector<std::byte>& bytes, const std::string& text) {
  return std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()).find(text);
}

// Shapes --------------------------------------------------------------------------------------

TEST(Kinds, PixelsAreKeptAsCodedUnlessSquareOnesAreAskedFor) {
  SamplingOptions square;
  square.square_pixels = true;
  EXPECT_EQ(plan_of("aspect_wide.mp4").source, (Size{48, 64}));  // 2:1
  EXPECT_EQ(plan_of("aspect_wide.mp4", square).source, (Size{48, 128}));
  EXPECT_EQ(plan_of("aspect_tall.mkv").source, (Size{48, 64}));  // 2:3
  EXPECT_EQ(plan_of("aspect_tall.mkv", square).source, (Size{72, 64}));
  EXPECT_EQ(plan_of("aspect_turned.mp4").source, (Size{64, 48}));  // 2:1 before the turn
  EXPECT_EQ(plan_of("aspect_turned.mp4", square).source, (Size{128, 48}));
  EXPECT_EQ(plan_of("wide_row.mp4", square).source, (Size{48, 84}));
}

TEST(Kinds, SquarePixelsComeFromOneResizeOfTheCodedFrame) {
  SamplingOptions square;
  square.square_pixels = true;
  Media media = open("aspect_wide.mp4");
  const MediaPlan plan = plan_media(media, {}, square);
  EXPECT_EQ(plan.resized, smart_resize({48, 128}, 28, 128 * 784, 768 * 784, square.reference));
  PatchReader reader(media, plan, {});
  PatchBatch slice;
  ASSERT_TRUE(reader.next(slice));
  RgbFrame coded;
  Media again = open("aspect_wide.mp4");
  FrameReader frames(again, {plan.frame_indices[0]});
  ASSERT_TRUE(frames.next(coded));
  std::vector<std::uint8_t> expected(
      static_cast<std::size_t>(plan.resized.height * plan.resized.width * 3));
  Resizer resizer({48, 64}, plan.resized, ResizeMode::kTorchFloat);
  resizer.run(coded.pixels, {expected.data(), {plan.resized.height, plan.resized.width, 3}});
  EXPECT_EQ(std::memcmp(reader.frames().row(0), expected.data(), expected.size()), 0);
}

TEST(Kinds, APixelShapeBeyondReasonIsRefusedByName) {
  auto bytes = read_file(clip("aspect_wide.mp4"));
  const std::size_t at = find(bytes, "pasp") + 4;
  const std::uint8_t flat[] = {0, 0, 0, 1, 0, 0, 1, 44};  // 1 : 300
  std::memcpy(bytes.data() + at, flat, sizeof flat);
  Media media(MediaSource::from_memory(std::span(bytes), "flat.mp4"));
  EXPECT_EQ(plan_media(media, {}).source, (Size{48, 64}));
  SamplingOptions square;
  square.square_pixels = true;
  const Error e = error_of([&] { plan_media(media, {}, square); });
  EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
  EXPECT_NE(std::string(e.what()).find("flat.mp4"), std::string::npos) << e.what();
}

TEST(Kinds, TheSmallestFramesAndTheLongest) {
  EXPECT_EQ(plan_of("pixel.webm").source, (Size{1, 1}));
  EXPECT_EQ(plan_of("pixel.webm").resized, smart_resize({1, 1}, 28, 128 * 784, 768 * 784, {}));
  EXPECT_EQ(plan_of("column.webm").source, (Size{100, 1}));
  for (const char* name : {"pixel.webm", "column.webm"}) {
    Media media = open(name);
    PatchReader reader(media, plan_media(media, {}), {});
    PatchBatch slice;
    EXPECT_TRUE(reader.next(slice)) << name;
  }
  const Error e = refusal_of("thin.webm");  // 402x2
  EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
  for (const char* word : {"thin.webm", "402x2", "201", "200"}) {
    EXPECT_NE(std::string(e.what()).find(word), std::string::npos) << e.what();
  }
}

TEST(Kinds, SizesMayChangeAndTheModelIsShownOne) {
  Media media = open("sizes.ts");
  const MediaPlan plan = plan_media(media, {});
  EXPECT_EQ(plan.source, (Size{48, 64}));
  PatchReader reader(media, plan, {});
  PatchBatch slice;
  std::int64_t slices = 0;
  for (; reader.next(slice); ++slices) EXPECT_EQ(slice.grid_thw[1], plan.grid_thw[1]);
  EXPECT_EQ(slices, plan.grid_thw[0]);
  ASSERT_EQ(reader.warnings().size(), 1u);
  EXPECT_NE(reader.warnings()[0].find("size changes"), std::string::npos);
  // A part of one size says nothing.
  FrameReader first(media, all_frames(12));
  RgbFrame frame;
  while (first.next(frame)) EXPECT_EQ(frame.pixels.size(1), 64);
  EXPECT_TRUE(first.warnings().empty());
}

// Colour --------------------------------------------------------------------------------------

TEST(Kinds, ColourIsReadFromTheTags) {
  const auto video = [](const char* name) { return open(name).info().video(); };
  EXPECT_EQ(video("limited_601.mp4").color_range, "tv");
  EXPECT_EQ(video("limited_601.mp4").color_matrix, "smpte170m");
  EXPECT_EQ(video("bt2020.mp4").color_matrix, "bt2020nc");
  EXPECT_FALSE(video("bt2020.mp4").is_hdr());
  EXPECT_TRUE(video("hdr_pq.mp4").is_hdr());
  EXPECT_TRUE(video("hdr_hlg.mp4").is_hdr());
  EXPECT_EQ(video("wide_row.mp4").color_matrix, "");  // untagged
  EXPECT_EQ(video("wide_row.mp4").color_range, "");
  EXPECT_EQ(video("full_by_format.avi").pixel_format, "yuvj420p");
  for (const char* format : {"yuv422p", "yuv444p", "yuv422p10le", "yuv444p10le", "yuv420p12le",
                             "yuv422p12le", "yuv444p12le"}) {
    EXPECT_EQ(video((std::string(format) + ".mp4").c_str()).pixel_format, format);
  }
  EXPECT_EQ(video("yuv420p12le.mp4").bit_depth, 12);
  EXPECT_EQ(video("alpha.mov").pixel_format, "rgba");
  EXPECT_TRUE(video("interlaced.mp4").is_interlaced());
  EXPECT_FALSE(video("wide_row.mp4").is_interlaced());
}

// Times ---------------------------------------------------------------------------------------

TEST(Kinds, ClocksMayStartAnywhere) {
  Media negative = open("start_negative.ts");
  EXPECT_NEAR(negative.frame_index().pts.front(), -0.3337, 1e-3);
  EXPECT_NEAR(negative.frame_index().pts.back(), 0.1330, 1e-3);
  const MediaPlan late = plan_of("start_late.mkv");
  EXPECT_NEAR(late.start_seconds, 100.0, 1e-9);
  EXPECT_NEAR(late.duration_seconds, 1.0, 0.01);
  SamplingOptions part;  // seconds from the start, not on the clock
  part.from = 0.5;
  for (const char* name : {"start_late.mkv", "no_count.mkv"}) {
    EXPECT_EQ(plan_of(name, part).range, (FrameRange{15, 29})) << name;
  }
}

TEST(Kinds, EditListsHideFrames) {
  Media media = open("edit_list.mp4");  // from 0.8 s of two, in a group that begins at 0.667
  EXPECT_EQ(media.frame_index().size(), 36);
  EXPECT_NEAR(media.frame_index().pts.front(), 0.0, 1e-9);
  Media whole = open("groups.mp4");
  EXPECT_EQ(frame_crcs(media, {0, 35}), frame_crcs(whole, {24, 59}));
}

TEST(Kinds, JoinedRecordingsGoOnInTime) {
  Media media = open("jump_back.ts");
  const FrameIndex& index = media.frame_index();
  ASSERT_EQ(index.size(), 24);
  for (std::size_t i = 1; i < index.pts.size(); ++i) {
    EXPECT_NEAR(index.pts[i] - index.pts[i - 1], 1.0 / 30, 1e-4) << i;
  }
  EXPECT_NEAR(index.end_seconds - index.pts.front(), 0.8, 1e-3);
  const auto crcs = frame_crcs(media, all_frames(24));
  EXPECT_TRUE(std::equal(crcs.begin(), crcs.begin() + 12, crcs.begin() + 12));
}

/// part_from of tools/make_preprocess_goldens.py.
std::vector<std::byte> part_from(const std::vector<std::byte>& bytes, std::int64_t group) {
  constexpr std::size_t kPacket = 188, kTables = 3 * kPacket;
  std::vector<std::byte> part(bytes.begin(), bytes.begin() + kTables);
  for (std::size_t at = 0; at < bytes.size(); at += kPacket) {
    const auto byte = [&](std::size_t i) { return std::to_integer<int>(bytes[at + i]); };
    const bool begins = (byte(1) & 0x40) != 0 && (byte(3) & 0x20) != 0 && byte(4) > 0 &&
                        (byte(5) & 0x40) != 0;  // unit start, random access
    if (begins && group-- == 0) {
      part.insert(part.end(), bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end());
      break;
    }
  }
  return part;
}

struct Joined {
  std::vector<std::byte> bytes;
  std::int64_t first = 0, second = 0;  // frames of the parts
};

Joined join(const Json& recorded) {
  Joined out;
  out.bytes = read_file(clip(recorded["name"].get<std::string>()));
  const auto part = part_from(out.bytes, recorded["group"].get<std::int64_t>());
  const auto frames = [](std::span<const std::byte> bytes) {
    return Media(MediaSource::from_memory(bytes, "part.ts")).frame_index().size();
  };
  out.first = frames(out.bytes);
  out.second = frames(part);
  out.bytes.insert(out.bytes.end(), part.begin(), part.end());
  return out;
}

/// Sums or checksums of frames `indices`.
std::vector<double> values_of(Media& media, const std::vector<std::int64_t>& indices, bool sums,
                              std::vector<std::string>& warnings) {
  FrameReader reader(media, indices);
  std::vector<double> out;
  for (RgbFrame frame; reader.next(frame);) {
    double sum = 0;
    for (std::int64_t y = 0; sums && y < frame.pixels.size(0); ++y) {
      const std::uint8_t* row = frame.pixels.row(y);
      sum = std::accumulate(row, row + frame.pixels.size(1) * 3, sum);
    }
    out.push_back(sums ? sum : testing::crc32(frame.pixels));
  }
  warnings = reader.warnings();
  return out;
}

// The second part is cut from an open group: pictures lead its first key frame that refer to what
// is not there. All that can be decoded is PyAV's, in order, and the same however it is reached.
TEST(Kinds, RecordingsMayBeJoinedInOpenGroups) {
  for (const Json& recorded : testing::golden()["joined"]) {
    const std::string name = recorded["name"];
    const Joined joined = join(recorded);
    Media media(MediaSource::from_memory(std::span(joined.bytes), name));
    const FrameIndex& index = media.frame_index();
    const std::int64_t n = joined.first + joined.second;
    ASSERT_EQ(index.size(), n) << name;
    ASSERT_EQ(index.warnings.size(), 1u) << name;
    EXPECT_NE(index.warnings[0].find("begins again in 1 place"), std::string::npos) << name;
    for (std::size_t i = 1; i < index.pts.size(); ++i) {
      EXPECT_NEAR(index.pts[i] - index.pts[i - 1], 1.0 / 30, 1e-3) << name << " " << i;
    }
    std::vector<std::string> warnings;
    const bool sums = recorded.contains("sum");
    const auto all = values_of(media, all_frames(n), sums, warnings);
    if (sums) {  // PyAV decodes the two as one file: the first part lends what is missing
      const auto expected = recorded["sum"].get<std::vector<double>>();
      ASSERT_EQ(expected.size(), all.size()) << name;
      for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_NEAR(all[i], expected[i], 0.002 * expected[i]) << name << " " << i;
      }
      EXPECT_TRUE(warnings.empty()) << name;
    } else {  // of the parts alone
      const Json& whole = testing::golden()["frames"][name]["crc"];
      auto expected = whole.get<std::vector<double>>();
      const auto second = recorded["crc"].get<std::vector<double>>();
      const std::int64_t leading = n - joined.first - std::ssize(second);
      ASSERT_GT(leading, 0) << name;
      expected.insert(expected.end(), static_cast<std::size_t>(leading), second.front());
      expected.insert(expected.end(), second.begin(), second.end());
      EXPECT_EQ(all, expected) << name;
      ASSERT_EQ(warnings.size(), 1u) << name;
      EXPECT_NE(warnings[0].find(fmt::format("{} of {} frames could not be decoded, the first is "
                                             "frame {};",
                                             leading, n, joined.first)),
                std::string::npos)
          << warnings[0];
    }
    for (std::int64_t i = 0; i < n; ++i) {
      ASSERT_EQ(values_of(media, {i}, sums, warnings)[0], all[static_cast<std::size_t>(i)])
          << name << " frame " << i;
    }
    const std::vector<std::int64_t> some = {1, joined.first - 1, joined.first + 1, n - 1};
    const auto got = values_of(media, some, sums, warnings);
    for (std::size_t k = 0; k < some.size(); ++k) {
      EXPECT_EQ(got[k], all[static_cast<std::size_t>(some[k])]) << name << " frame " << some[k];
    }
  }
}

TEST(Kinds, TimesNeverFall) {
  for (const std::string& name : testing::golden_clips()) {
    Media media = open(name);
    const FrameIndex& index = media.frame_index();
    EXPECT_TRUE(std::is_sorted(index.pts.begin(), index.pts.end())) << name;
    EXPECT_GT(index.end_seconds, index.pts.back()) << name;
    EXPECT_GT(index.fps, 0) << name;
  }
}

TEST(Kinds, AWrongRateInTheHeaderIsNotBelieved) {
  Media media = open("wrong_rate.mkv");
  EXPECT_GT(media.info().video().fps, 500);
  EXPECT_NEAR(media.frame_index().fps, 30, 0.5);
  Media right = open("no_count.mkv");
  EXPECT_EQ(frame_crcs(media, {0, 29}), frame_crcs(right, {0, 29}));
}

TEST(Kinds, CountsNeedNoHeader) {
  for (const char* name : {"no_count.mkv", "fragmented.mp4", "open_group.ts"}) {
    Media media = open(name);
    EXPECT_FALSE(media.info().video().frame_count) << name;
    EXPECT_EQ(media.frame_index().size(), std::string(name) == "open_group.ts" ? 45 : 30) << name;
  }
}

TEST(Kinds, NoFrameOneAndOddCounts) {
  auto bytes = read_file(clip("fragmented.mp4"));
  bytes.resize(find(bytes, "moof") - 4);  // a recording that ended before its first fragment
  const Error none = error_of([&] {
    Media media(MediaSource::from_memory(std::span(bytes), "none.mp4"));
    media.frame_index();
  });
  EXPECT_EQ(none.code(), ErrorCode::kFormat) << none.what();
  EXPECT_NE(std::string(none.what()).find("none.mp4"), std::string::npos) << none.what();
  EXPECT_EQ(plan_of("one_frame.mp4").frame_indices, (std::vector<std::int64_t>{0, 0}));
  const MediaPlan five = plan_of("five_frames.mp4");
  EXPECT_EQ(five.total_frames, 5);
  EXPECT_EQ(five.frame_indices, (std::vector<std::int64_t>{0, 1, 3, 4}));
}

// Containers ----------------------------------------------------------------------------------

TEST(Kinds, CoversAreNeverTheVideo) {
  const Media media = open("cover.mp4");
  EXPECT_TRUE(media.info().streams[media.info().video_stream == 0 ? 1u : 0u].cover);
  EXPECT_FALSE(media.info().video().cover);
  EXPECT_EQ(media.info().video().codec, "h264");
  const Error only = refusal_of("cover_only.m4a");
  EXPECT_EQ(only.code(), ErrorCode::kNotFound);
  EXPECT_NE(std::string(only.what()).find("only an attached picture"), std::string::npos)
      << only.what();
}

TEST(Kinds, SoundAloneIsRefused) {
  const Error e = refusal_of("sound_only.m4a");
  EXPECT_EQ(e.code(), ErrorCode::kNotFound);
  EXPECT_NE(std::string(e.what()).find("no video stream"), std::string::npos) << e.what();
}

/// A box of `size` bytes that means nothing, of which only the header is written.
std::vector<std::byte> free_box_header(std::uint64_t size) {
  std::vector<std::byte> out = {std::byte{0},   std::byte{0},   std::byte{0},   std::byte{1},
                                std::byte{'f'}, std::byte{'r'}, std::byte{'e'}, std::byte{'e'}};
  for (int shift = 56; shift >= 0; shift -= 8) out.push_back(static_cast<std::byte>(size >> shift));
  return out;
}

TEST(Kinds, OffsetsBeyondFourGigabytes) {
  const auto bytes = read_file(clip("fragmented.mp4"));
  const auto split = static_cast<std::ptrdiff_t>(find(bytes, "moof") - 4);
  constexpr std::uint64_t kHole = (std::uint64_t{5} << 30) + 12345;
  const TemporaryFolder folder;
  const auto path = folder.path() / "huge.mp4";
  const auto put = [&](std::span<const std::byte> part, std::uint64_t at) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekp(static_cast<std::streamoff>(at));
    file.write(reinterpret_cast<const char*>(part.data()),
               static_cast<std::streamsize>(part.size()));
    ASSERT_TRUE(file.good());
  };
  folder.write("huge.mp4", std::string());
  put(std::span(bytes).first(static_cast<std::size_t>(split)), 0);
  put(free_box_header(kHole), static_cast<std::uint64_t>(split));
  put(std::span(bytes).subspan(static_cast<std::size_t>(split)),
      static_cast<std::uint64_t>(split) + kHole);  // a hole: no blocks on the disk
  Media huge{MediaSource::from_path(path)};
  EXPECT_GT(huge.info().size_bytes, std::int64_t{5} << 30);
  Media small = open("fragmented.mp4");
  ASSERT_EQ(huge.frame_index().size(), 30);
  EXPECT_EQ(huge.frame_index().pts, small.frame_index().pts);
  EXPECT_EQ(frame_crcs(huge, all_frames(30)), frame_crcs(small, all_frames(30)));
  EXPECT_EQ(frame_crcs(huge, {29}), frame_crcs(small, {29}));
}

// Animations ----------------------------------------------------------------------------------

TEST(Kinds, AnimatedPicturesAreVideos) {
  Media webp = open("moving.webp");
  EXPECT_FALSE(webp.is_image());
  EXPECT_EQ(webp.info().video().frame_count, 6);
  EXPECT_EQ(webp.frame_index().ticks, (std::vector<std::int64_t>{0, 100, 200, 250, 300, 500}));
  EXPECT_NEAR(webp.frame_index().end_seconds, 0.6, 1e-9);
  EXPECT_NEAR(webp.frame_index().fps, 10, 1e-9);
  EXPECT_FALSE(open("moving.apng").is_image());
  EXPECT_EQ(open("moving.apng").info().container, "apng");
  // One picture is a still, whatever the file could hold.
  auto still = read_file(clip("moving.apng"));
  still[find(still, "acTL") + 7] = std::byte{1};
  EXPECT_TRUE(Media(MediaSource::from_memory(std::span(still), "still.png")).is_image());
}

TEST(Kinds, TransparencyOfAnimationsFollowsTheReference) {
  Media media = open("moving.webp");
  const auto corner = [&](Reference reference) {
    FrameReader reader(media, {3}, {}, nullptr, {.reference = reference});
    RgbFrame frame;
    EXPECT_TRUE(reader.next(frame));
    return int{frame.pixels.row(0)[0]};
  };
  EXPECT_EQ(corner(Reference::kQwenVlUtils), 255);
  EXPECT_EQ(corner(Reference::kHf), 0);
}

TEST(Kinds, AnimationsObeyTheLimits) {
  const auto limited = [](const Limits& limits, const char* name) {
    const Error e = error_of([&] {
      Media media(MediaSource::from_path(clip("moving.webp")), limits);
      media.frame_index();
    });
    EXPECT_EQ(e.code(), ErrorCode::kLimit) << e.what();
    EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
  };
  limited({.frame_pixels = 1000}, "frame-pixels");
  limited({.frames_considered = 5}, "frames-considered");
  limited({.image_bytes = 100}, "image-bytes");
}

// Sequences -----------------------------------------------------------------------------------

TEST(Kinds, ImageSequencesAreRefusedWithAHint) {
  const TemporaryFolder folder;
  for (const char* pattern : {"img%03d.png", "%d.jpg", "*.png", "frame?.png"}) {
    const Error e = error_of([&] { Media{MediaSource::from_path(folder.path() / pattern)}; });
    EXPECT_EQ(e.code(), ErrorCode::kNotFound) << pattern;
    EXPECT_NE(std::string(e.what()).find("image sequences are not read"), std::string::npos)
        << e.what();
  }
  const Error plain = error_of([&] { Media{MediaSource::from_path(folder.path() / "100%.png")}; });
  EXPECT_EQ(std::string(plain.what()).find("sequence"), std::string::npos) << plain.what();
  const Error directory = error_of([&] { Media{MediaSource::from_path(folder.path())}; });
  EXPECT_NE(std::string(directory.what()).find("image sequences are not read"), std::string::npos);
}

}  // namespace
}  // namespace reelm::preprocess
