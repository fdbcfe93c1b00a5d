// Where bytes come from, and what hostile or broken ones do.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "preprocess/image.h"
#include "preprocess/patch_reader.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::all_frames;
using testing::clip;
using testing::error_of;
using testing::frame_crcs;
using testing::read_file;
using testing::TemporaryFolder;

ErrorCode code_of(const MediaSource& source, const Limits& limits = {}) {
  return error_of([&] {
           Media media(source, limits);
           if (!media.is_image()) {
             FrameReader reader(media, all_frames(media.frame_index().size()), limits);
             RgbFrame frame;
             while (reader.next(frame)) {
             }
           }
         })
      .code();
}

/// A media read through a pipe that is filled in small pieces.
Media through_pipe(const std::vector<std::byte>& bytes) {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  std::thread writer([&] {
    std::size_t at = 0;
    while (at < bytes.size()) {
      const ssize_t n =
          ::write(ends[1], bytes.data() + at, std::min<std::size_t>(777, bytes.size() - at));
      if (n <= 0) break;
      at += static_cast<std::size_t>(n);
    }
    ::close(ends[1]);
  });
  Media media(MediaSource::from_descriptor(ends[0], "pipe"));
  writer.join();
  ::close(ends[0]);
  return media;
}

TEST(Source, PathPipeAndMemoryGiveTheSameFrames) {
  for (const std::string& name : testing::golden_clips()) {
    const auto bytes = read_file(clip(name));
    Media by_path(MediaSource::from_path(clip(name)));
    const auto numbers = all_frames(by_path.frame_index().size());
    const auto expected = frame_crcs(by_path, numbers);

    Media by_memory(
        MediaSource::from_memory(std::make_shared<const std::vector<std::byte>>(bytes), "memory"));
    EXPECT_EQ(by_memory.frame_index().pts, by_path.frame_index().pts) << name;
    EXPECT_EQ(frame_crcs(by_memory, numbers), expected) << name;

    Media by_pipe = through_pipe(bytes);
    EXPECT_EQ(by_pipe.info().size_bytes, static_cast<std::int64_t>(bytes.size()));
    EXPECT_EQ(by_pipe.frame_index().pts, by_path.frame_index().pts) << name;
    EXPECT_EQ(frame_crcs(by_pipe, numbers), expected) << name;
  }
}

TEST(Source, FifosAndDescriptorsGiveTheSameFrames) {
  for (const char* name : {"groups.mp4", "open_group.ts", "moving.webp"}) {
    const auto bytes = read_file(clip(name));
    Media by_path(MediaSource::from_path(clip(name)));
    const auto numbers = all_frames(by_path.frame_index().size());
    const auto expected = frame_crcs(by_path, numbers);

    const int fd = ::open(clip(name).c_str(), O_RDONLY);
    Media by_descriptor(MediaSource::from_descriptor(fd, "file"));
    EXPECT_EQ(frame_crcs(by_descriptor, numbers), expected) << name;
    ::close(fd);

    const TemporaryFolder folder;
    const auto fifo = folder.path() / "fifo";
    ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
    std::thread late([&] {
      std::this_thread::sleep_for(std::chrono::milliseconds(120));
      std::ofstream(fifo, std::ios::binary)
          .write(reinterpret_cast<const char*>(bytes.data()),
                 static_cast<std::streamsize>(bytes.size()));
    });
    Media by_fifo(MediaSource::from_path(fifo));
    late.join();
    EXPECT_EQ(frame_crcs(by_fifo, numbers), expected) << name;
  }
}

TEST(Source, DashIsStandardInput) {
  EXPECT_EQ(MediaSource::from_argument("-").kind(), MediaSource::Kind::kDescriptor);
  EXPECT_EQ(MediaSource::from_argument("-").descriptor(), 0);
  EXPECT_EQ(MediaSource::from_argument("a.mp4").path(), "a.mp4");
}

TEST(Source, ADescriptorIsReadFromWhereItStands) {
  const TemporaryFolder folder;
  auto bytes = read_file(clip("one_frame.mp4"));
  bytes.insert(bytes.begin(), 1000, std::byte{'x'});
  const int fd = ::open(folder.write("offset", bytes).c_str(), O_RDONLY);
  ASSERT_EQ(::lseek(fd, 1000, SEEK_SET), 1000);
  Media media(MediaSource::from_descriptor(fd, "offset"));
  EXPECT_EQ(media.frame_index().size(), 1);
  ::close(fd);
}

TEST(Source, BadFilesAreNamedErrors) {
  const TemporaryFolder folder;
  EXPECT_EQ(code_of(MediaSource::from_path(folder.path() / "missing.mp4")), ErrorCode::kNotFound);
  EXPECT_EQ(code_of(MediaSource::from_path(folder.path())), ErrorCode::kIo);
  EXPECT_EQ(code_of(MediaSource::from_path(folder.write("empty", std::string()))),
            ErrorCode::kFormat);
  EXPECT_EQ(code_of(MediaSource::from_path("/dev/null")), ErrorCode::kFormat);
  std::string random;
  std::uint64_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    random += static_cast<char>((state = state * 6364136223846793005u + 1) >> 56);
  }
  EXPECT_EQ(code_of(MediaSource::from_path(folder.write("random", random))), ErrorCode::kFormat);
  EXPECT_EQ(code_of(MediaSource::from_path(folder.write("text", "What is this?\n"))),
            ErrorCode::kFormat);
  EXPECT_EQ(code_of(MediaSource::from_path(folder.write("zeros", std::string(5000, '\0')))),
            ErrorCode::kFormat);
  const Error named = error_of([&] { Media(MediaSource::from_path(folder.path() / "text")); });
  EXPECT_NE(std::string(named.what()).find("text"), std::string::npos);
}

TEST(Source, NothingElseIsEverOpened) {
  const TemporaryFolder folder;
  const std::string target = clip("groups.mp4").string();
  const std::string playlists[] = {
      "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n" + target +
          "\n#EXT-X-ENDLIST\n",
      "ffconcat version 1.0\nfile '" + target + "'\n",
      "<?xml version=\"1.0\"?><MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\"></MPD>",
      "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
      "[playlist]\nFile1=" + target + "\n"};
  for (const std::string& text : playlists) {
    const ErrorCode code = code_of(MediaSource::from_path(folder.write("list", text)));
    EXPECT_TRUE(code == ErrorCode::kUnsupported || code == ErrorCode::kFormat) << text;
  }
  // A path is a path, whatever protocol it looks like.
  for (const char* name : {"concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "http://x/a.mp4",
                           "file:a.mp4", "data:video/mp4;base64,AAAA"}) {
    EXPECT_EQ(code_of(MediaSource::from_argument(name)), ErrorCode::kNotFound) << name;
  }
}

TEST(Source, LimitsNameThemselves) {
  const auto limited = [](const Limits& limits, const char* name, const char* file) {
    const Error e = error_of([&] {
      Media media(MediaSource::from_path(clip(file)), limits);
      media.frame_index();
    });
    EXPECT_EQ(e.code(), ErrorCode::kLimit) << e.what();
    EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
  };
  limited({.frame_pixels = 1000}, "frame-pixels", "groups.mp4");
  limited({.frame_pixels = 1000}, "frame-pixels", "open_group.ts");
  limited({.frames_considered = 10}, "frames-considered", "groups.mp4");
  limited({.streams = 0}, "streams", "groups.mp4");
  limited({.probe_seconds = 0}, "probe-seconds", "groups.mp4");
  limited({.probe_bytes = 100}, "probe-bytes", "groups.mp4");   // to tell the format
  limited({.probe_bytes = 5000}, "probe-bytes", "groups.mp4");  // to open it
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  ASSERT_EQ(::write(ends[1], "0123456789", 10), 10);
  const Error e = error_of(
      [&] { Media(MediaSource::from_descriptor(ends[0], "standard input"), {.media_bytes = 5}); });
  EXPECT_EQ(e.code(), ErrorCode::kLimit);
  EXPECT_NE(std::string(e.what()).find("media-bytes"), std::string::npos) << e.what();
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(Source, DecodedFramesAliveAreBounded) {
  const auto source = MediaSource::from_path(clip("groups.mp4"));
  Media media(source);
  const std::int64_t n = media.frame_index().size();
  const StreamInfo& video = media.info().video();
  ASSERT_EQ(video.pixel_format, "yuv420p");
  const auto padded = [](std::int64_t row) { return (row + 63) / 64 * 64; };
  const std::int64_t frame_bytes = (padded(video.width) + padded(video.width / 2)) * video.height;
  const auto expected = frame_crcs(media, all_frames(n));
  const auto refused = [&](std::int64_t bytes) {
    const Limits limits = {.decoded_bytes = bytes};
    const Error e = error_of([&] {
      FrameReader reader(media, all_frames(n), limits, nullptr, {.threads = 8});
      RgbFrame frame;
      while (reader.next(frame)) {
      }
    });
    EXPECT_EQ(e.code(), ErrorCode::kLimit) << bytes;
    EXPECT_NE(std::string(e.what()).find("the limit decoded-bytes"), std::string::npos) << e.what();
  };
  refused(frame_bytes - 1);  // before anything is decoded
  refused(2 * frame_bytes);  // by the frame that would be one too many
  // Room for one thread: the others are not made, and all frames come.
  const Limits enough = {.decoded_bytes = 21 * frame_bytes};
  FrameReader reader(media, all_frames(n), enough, nullptr, {.threads = 8});
  RgbFrame frame;
  for (std::int64_t i = 0; i < n; ++i) {
    ASSERT_TRUE(reader.next(frame));
    ASSERT_EQ(testing::crc32(frame.pixels), expected[static_cast<std::size_t>(i)]);
  }
  EXPECT_TRUE(reader.warnings().empty());
}

// The sizes that a header announces, changed to huge ones.
TEST(Source, HugeDimensionsAreRefusedBeforeDecoding) {
  auto bytes = read_file(clip("wide_row.mp4"));
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t at = text.rfind("avc1") + 4 + 24;  // width and height of the sample entry
  ASSERT_EQ(static_cast<int>(bytes[at + 1]), 84);
  for (std::size_t i = at; i < at + 4; ++i) bytes[i] = std::byte{0xff};
  EXPECT_EQ(code_of(MediaSource::from_memory(std::span(bytes), "huge.mp4")), ErrorCode::kLimit);
}

TEST(Source, TruncatedFilesGiveWhatIsLeftAndSayWhatIsLost) {
  const auto bytes = read_file(clip("groups.mp4"));
  Media whole(MediaSource::from_memory(std::span(bytes), "whole.mp4"));
  const auto expected = frame_crcs(whole, all_frames(60));
  for (const double part : {0.5, 0.7, 0.95}) {
    const auto n = static_cast<std::size_t>(static_cast<double>(bytes.size()) * part);
    Media media(MediaSource::from_memory(std::span(bytes).first(n), "short.mp4"));
    const FrameIndex& index = media.frame_index();
    ASSERT_LT(index.size(), 60);
    ASSERT_GT(index.size(), 5);
    EXPECT_TRUE(index.truncated);
    ASSERT_EQ(index.warnings.size(), 1u);
    EXPECT_NE(index.warnings[0].find("truncated"), std::string::npos) << index.warnings[0];
    EXPECT_NE(index.warnings[0].find("60 frames"), std::string::npos) << index.warnings[0];
    // Frames whose references are there are the same; each number gives some frame.
    FrameReader reader(media, all_frames(index.size()));
    RgbFrame frame;
    std::int64_t read = 0, same = 0;
    while (reader.next(frame)) {
      same += testing::crc32(frame.pixels) == expected[static_cast<std::size_t>(read)] ? 1 : 0;
      ++read;
    }
    EXPECT_EQ(read, index.size());
    EXPECT_GE(same, read - 8);
  }
}

TEST(Source, TruncatedOrDamagedAnywhereIsAnErrorOrFramesNeverACrash) {
  for (const char* name : {"turned_90.mp4", "no_count.mkv", "odd.webm", "pictures.gif",
                           "reordered.avi", "open_group.ts", "moving.webp", "moving.apng",
                           "fragmented.mp4", "raw.h264", "missing.mpg"}) {
    const auto bytes = read_file(clip(name));
    const auto try_all = [&](std::span<const std::byte> some) {
      try {
        Media media(MediaSource::from_memory(some, name));
        FrameReader reader(media, all_frames(media.frame_index().size()), {}, nullptr,
                           {.threads = 1});
        RgbFrame frame;
        while (reader.next(frame)) ASSERT_GT(frame.pixels.numel(), 0);
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(name), std::string::npos) << e.what();
      }
    };
    for (int i = 0; i < 12; ++i)
      try_all(std::span(bytes).first(bytes.size() * static_cast<std::size_t>(i) / 12));
    std::uint64_t state = 7;
    for (int i = 0; i < 12; ++i) {
      auto damaged = bytes;
      for (int k = 0; k < 20; ++k) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        damaged[(state >> 33) % damaged.size()] ^= static_cast<std::byte>(state >> 24 | 1);
      }
      try_all(damaged);
    }
  }
}

// A damaged frame in the middle: the others are there, and a warning tells.
TEST(Source, DamagedFramesAreReplacedAndReported) {
  auto bytes = read_file(clip("groups.mp4"));
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  const std::size_t data = text.find("mdat") + 4;
  for (std::size_t i = data + 4500; i < data + 5500; ++i) bytes[i] = std::byte{0xff};
  Media media(MediaSource::from_memory(std::span(bytes), "damaged.mp4"));
  ASSERT_EQ(media.frame_index().size(), 60);
  FrameReader reader(media, all_frames(60));
  RgbFrame frame;
  std::int64_t n = 0;
  while (reader.next(frame)) ++n;
  EXPECT_EQ(n, 60);
  EXPECT_FALSE(reader.warnings().empty());
}

/// Where the chunks of frames begin in moving.webp.
std::vector<std::size_t> frame_chunks(const std::vector<std::byte>& bytes) {
  const std::string text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  std::vector<std::size_t> out;
  for (std::size_t at = text.find("ANMF"); at != std::string::npos;
       at = text.find("ANMF", at + 1)) {
    out.push_back(at);
  }
  return out;
}

struct Answer {
  std::vector<std::uint32_t> crcs;
  std::vector<double> pts;
  std::vector<std::string> index_warnings, warnings;
  bool truncated = false;
};

Answer read_all(std::span<const std::byte> bytes) {
  Media media(MediaSource::from_memory(bytes, "hurt.webp"));
  Answer out;
  const FrameIndex& index = media.frame_index();
  out.pts = index.pts;
  out.index_warnings = index.warnings;
  out.truncated = index.truncated;
  FrameReader reader(media, all_frames(index.size()));
  RgbFrame frame;
  while (reader.next(frame)) out.crcs.push_back(testing::crc32(frame.pixels));
  out.warnings = reader.warnings();
  return out;
}

/// That an answer is the first `n` frames of `whole`, with one warning of `words` from the index.
void expect_first(const Answer& answer, const Answer& whole, std::size_t n, const char* words) {
  ASSERT_EQ(answer.crcs.size(), n);
  EXPECT_TRUE(std::equal(answer.crcs.begin(), answer.crcs.end(), whole.crcs.begin()));
  EXPECT_TRUE(std::equal(answer.pts.begin(), answer.pts.end(), whole.pts.begin()));
  ASSERT_EQ(answer.index_warnings.size(), 1u);
  EXPECT_NE(answer.index_warnings[0].find(words), std::string::npos) << answer.index_warnings[0];
  EXPECT_TRUE(answer.warnings.empty());
}

TEST(Source, TruncatedAnimationsGiveTheFramesThatAreLeft) {
  const auto bytes = read_file(clip("moving.webp"));
  const auto chunks = frame_chunks(bytes);
  const Answer whole = read_all(bytes);
  ASSERT_EQ(whole.crcs.size(), chunks.size());
  ASSERT_TRUE(whole.index_warnings.empty());
  for (std::size_t n = 1; n < chunks.size(); ++n) {
    for (const std::size_t more : {0, 1, 8, 40}) {  // between frames, and within one
      const Answer answer = read_all(std::span(bytes).first(chunks[n] + more));
      expect_first(answer, whole, n, "truncated");
      EXPECT_TRUE(answer.truncated);
    }
  }
  EXPECT_EQ(code_of(MediaSource::from_memory(std::span(bytes).first(chunks[1] - 1), "none.webp")),
            ErrorCode::kFormat);
}

// An animation is drawn frame upon frame: behind a damaged one, the last good picture stands in.
TEST(Source, DamagedAnimationsGiveTheFramesBefore) {
  const auto bytes = read_file(clip("moving.webp"));
  const auto chunks = frame_chunks(bytes);
  const Answer whole = read_all(bytes);
  constexpr std::size_t kBits = 8 + 16 + 8 + 5;  // headers of frame and picture, before the pixels
  for (std::size_t bad = 0; bad < chunks.size(); ++bad) {
    auto hurt = bytes;
    hurt[chunks[bad]] = std::byte{'x'};  // the chunk is none of a frame: unknown ones are skipped
    hurt[chunks[bad] + 5] = std::byte{0xff};  // and it is longer than the file
    if (bad > 0) {
      const Answer answer = read_all(hurt);
      expect_first(answer, whole, bad, "damaged behind frame");
      EXPECT_FALSE(answer.truncated);
    }

    hurt = bytes;
    std::fill_n(hurt.begin() + static_cast<std::ptrdiff_t>(chunks[bad] + kBits), 20,
                std::byte{255});
    if (bad == 0) {
      EXPECT_EQ(code_of(MediaSource::from_memory(std::span(hurt), "none.webp")),
                ErrorCode::kFormat);
      continue;
    }
    const Answer answer = read_all(hurt);
    auto expected = whole.crcs;
    std::fill(expected.begin() + static_cast<std::ptrdiff_t>(bad), expected.end(),
              whole.crcs[bad - 1]);
    EXPECT_EQ(answer.crcs, expected);
    EXPECT_EQ(answer.pts, whole.pts);
    ASSERT_EQ(answer.warnings.size(), 1u);
    EXPECT_NE(answer.warnings[0].find(fmt::format("{} of 6 frames could not be decoded, the first "
                                                  "is frame {};",
                                                  6 - bad, bad)),
              std::string::npos)
        << answer.warnings[0];
  }
}

TEST(Source, CancelReachesEveryStage) {
  CancelToken cancelled;
  cancelled.cancel();
  const auto code = [&](auto fn) { return error_of(fn).code(); };
  const auto source = MediaSource::from_path(clip("groups.mp4"));
  EXPECT_EQ(code([&] { Media(source, {}, &cancelled); }), ErrorCode::kCancelled);
  Media media(source);
  EXPECT_EQ(code([&] { media.frame_index(&cancelled); }), ErrorCode::kCancelled);
  EXPECT_EQ(media.frame_index().size(), 60);  // usable afterwards
  CancelToken token;
  FrameReader reader(media, all_frames(60), {}, &token);
  RgbFrame frame;
  ASSERT_TRUE(reader.next(frame));
  token.cancel();
  EXPECT_EQ(code([&] { reader.next(frame); }), ErrorCode::kCancelled);
}

// Within a picture: read_image_header comes before, and polls nothing.
TEST(Source, CancelReachesTheDecodingOfAnImage) {
  CancelToken cancelled;
  cancelled.cancel();
  const std::filesystem::path folder =
      std::filesystem::path(REELM_SOURCE_DIR) / "tests/goldens/media";
  for (const char* name : {"square.png", "odd.jpg", "ring.webp"}) {
    const auto bytes = read_file(folder / name);
    const Error e =
        error_of([&] { (void)decode_image(bytes, name, {}, Reference::kQwenVlUtils, &cancelled); });
    EXPECT_EQ(e.code(), ErrorCode::kCancelled) << name;
    const Error late = error_of([&] { (void)decode_image(bytes, name, {.stall_seconds = 0}); });
    EXPECT_EQ(late.code(), ErrorCode::kLimit);
    EXPECT_NE(std::string(late.what()).find("stall-seconds"), std::string::npos) << late.what();
  }
}

TEST(Source, CancelEndsWaitingForAPipe) {
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  CancelToken token;
  std::thread canceller([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    token.cancel();
  });
  EXPECT_EQ(
      error_of([&] { Media(MediaSource::from_descriptor(ends[0], "pipe"), {}, &token); }).code(),
      ErrorCode::kCancelled);
  canceller.join();
  CancelToken deadline;
  deadline.set_deadline(CancelToken::Clock::now() + std::chrono::milliseconds(50));
  EXPECT_EQ(
      error_of([&] { Media(MediaSource::from_descriptor(ends[0], "pipe"), {}, &deadline); }).code(),
      ErrorCode::kCancelled);
  const TemporaryFolder folder;
  const auto fifo = folder.path() / "fifo";
  ASSERT_EQ(::mkfifo(fifo.c_str(), 0600), 0);
  EXPECT_EQ(error_of([&] { Media(MediaSource::from_path(fifo), {}, &deadline); }).code(),
            ErrorCode::kCancelled);  // nobody ever writes
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace reelm::preprocess
