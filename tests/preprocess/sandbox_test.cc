// Decoding in confined processes: the same frames, the same errors, and nothing else.
#include "preprocess/sandbox.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <csignal>
#include <fstream>
#include <sstream>
#include <thread>

#include "preprocess/patch_reader.h"
#include "preprocess/sandbox/remote_decoder.h"
#include "tests/preprocess/child_process.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::all_frames;
using testing::clip;
using testing::error_of;
using testing::frame_crcs;
using testing::in_child;
using testing::read_file;
using testing::TemporaryFolder;

/// Started on first use: tests that need it start no thread before.
const Sandbox& sandbox() {
  static const std::unique_ptr<Sandbox> started = Sandbox::start();
  return *started;
}

Media confined(const MediaSource& source, const Limits& limits = {},
               const CancelToken* cancel = nullptr) {
  return Media(source, limits, cancel, &sandbox());
}

/// Everything that a reader of `media` gives, in one text.
std::string everything(Media& media, const FrameReader::Options& options = {}) {
  std::ostringstream out;
  out.precision(17);
  const MediaInfo& info = media.info();
  out << info.name << info.container << info.size_bytes << ' ' << info.start_seconds << ' '
      << info.duration_seconds << ' ' << info.video_stream;
  for (const StreamInfo& s : info.streams) {
    out << '|' << s.index << s.type << s.codec << s.pixel_format << s.width << 'x' << s.height
        << ' ' << s.rotation << s.flipped << ' ' << s.fps << ' ' << s.frame_count.value_or(-1)
        << ' ' << s.time_base_num << '/' << s.time_base_den << ' ' << s.start_seconds.value_or(-1)
        << ' ' << s.duration_seconds.value_or(-1) << s.color_range << s.color_matrix
        << s.color_primaries << s.color_transfer << s.bit_depth << ' ' << s.sample_aspect_ratio
        << s.field_order << s.cover;
  }
  std::int64_t n = 1;
  if (!media.is_image()) {
    const FrameIndex& index = media.frame_index();
    n = index.size();
    for (std::size_t i = 0; i < index.pts.size(); ++i) {
      out << '\n' << index.pts[i] << ' ' << index.ticks[i] << ' ' << int{index.keyframe[i]};
    }
    out << index.end_seconds << ' ' << index.fps << ' ' << index.truncated;
    for (const std::string& warning : index.warnings) out << '\n' << warning;
  }
  FrameReader reader(media, all_frames(n), {}, nullptr, options);
  for (RgbFrame frame; reader.next(frame);) {
    out << '\n'
        << frame.index << ' ' << frame.pts << ' ' << frame.pixels.size(0) << 'x'
        << frame.pixels.size(1) << ' ' << testing::crc32(frame.pixels);
  }
  for (const std::string& warning : reader.warnings()) out << '\n' << warning;
  return out.str();
}

/// Everything, or the words of the refusal.
template <typename Open>
std::string outcome(Open&& open) {
  try {
    Media media = open();
    return everything(media);
  } catch (const Error& e) {
    return e.what();
  }
}

/// Processes named `name` whose parent is `parent`.
std::vector<pid_t> children(pid_t parent, const std::string& name) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    std::ifstream stat(entry.path() / "stat");
    pid_t pid = 0, ppid = 0;
    std::string comm;
    char state = 0;
    if (stat >> pid >> comm >> state >> ppid && ppid == parent && comm == "(" + name + ")") {
      found.push_back(pid);
    }
  }
  return found;
}

std::vector<pid_t> decoders() {
  const auto forkers = children(::getpid(), "reelm-decoders");
  return forkers.empty() ? forkers : children(forkers.front(), "reelm-decoder");
}

/// Waits until no decoder is left; false after 20 seconds.
bool all_gone() {
  for (int i = 0; i < 2000 && !decoders().empty(); ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return decoders().empty();
}

TEST(Sandbox, FramesTimesAndInfoAreThoseOfThisProcess) {
  (void)sandbox();
  for (const auto& entry : std::filesystem::directory_iterator(testing::kSource / "tests/media")) {
    const auto source = MediaSource::from_path(entry.path());
    EXPECT_EQ(outcome([&] { return confined(source); }), outcome([&] { return Media(source); }))
        << entry.path();
  }
}

TEST(Sandbox, OneAloneWithoutSeekingAndAgain) {
  Media media = confined(MediaSource::from_path(clip("groups.mp4")));
  const auto all = all_frames(media.frame_index().size());
  const auto expected = frame_crcs(media, all, {.allow_seek = false});
  EXPECT_EQ(frame_crcs(media, {7, 7, 40}), (std::vector{expected[7], expected[7], expected[40]}));
  FrameReader given_up(media, all);  // its answers must not be taken for the next one's
  RgbFrame frame;
  ASSERT_TRUE(given_up.next(frame));
  EXPECT_EQ(frame_crcs(media, all), expected);
}

TEST(Sandbox, PipeAndMemoryAndAnOffset) {
  auto bytes = read_file(clip("hidden.webm"));
  Media here(MediaSource::from_memory(bytes, "x"));
  const std::string expected = everything(here);
  Media by_memory = confined(MediaSource::from_memory(bytes, "x"));
  EXPECT_EQ(everything(by_memory), expected);
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  std::thread writer([&] {
    ASSERT_EQ(::write(ends[1], bytes.data(), bytes.size()), static_cast<ssize_t>(bytes.size()));
    ::close(ends[1]);
  });
  Media by_pipe = confined(MediaSource::from_descriptor(ends[0], "x"));
  writer.join();
  ::close(ends[0]);
  EXPECT_EQ(everything(by_pipe), expected);
  const TemporaryFolder folder;
  auto shifted = bytes;
  shifted.insert(shifted.begin(), 1000, std::byte{'x'});
  const int fd = ::open(folder.write("offset", shifted).c_str(), O_RDONLY);
  ASSERT_EQ(::lseek(fd, 1000, SEEK_SET), 1000);
  Media by_offset = confined(MediaSource::from_descriptor(fd, "x"));
  EXPECT_EQ(everything(by_offset), expected);
  ::close(fd);
}

TEST(Sandbox, ImagesOfEveryKind) {
  for (const Json& c : testing::golden()["images"]) {
    const std::vector<std::byte> bytes = testing::from_base64(c[1]);
    const std::string name = c[0];
    const auto source = MediaSource::from_memory(bytes, name);
    Media here(source);
    Media there = confined(source);
    for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
      EXPECT_EQ(everything(there, {.reference = reference}),
                everything(here, {.reference = reference}))
          << name;
      SamplingOptions sampling;
      sampling.reference = reference;
      EXPECT_EQ(plan_media(there, {}, sampling).source, plan_media(here, {}, sampling).source);
    }
  }
}

TEST(Sandbox, ErrorsAreThoseOfThisProcess) {
  const TemporaryFolder folder;
  std::string random;
  std::uint64_t state = 1;
  for (int i = 0; i < 20'000; ++i) {
    random += static_cast<char>((state = state * 6364136223846793005u + 1) >> 56);
  }
  auto cut = read_file(clip("groups.mp4"));
  cut.resize(200);
  Limits few_pixels;
  few_pixels.frame_pixels = 100;
  const std::pair<std::filesystem::path, Limits> cases[] = {
      {folder.path() / "missing", {}},
      {folder.path(), {}},
      {folder.write("empty", std::string()), {}},
      {folder.write("random", random), {}},
      {folder.write("cut.mp4", cut), {}},
      {folder.write("playlist", std::string("#EXTM3U\n#EXTINF:1,\n/etc/passwd\n")), {}},
      {clip("groups.mp4"), few_pixels},
  };
  for (const auto& [path, case_limits] : cases) {
    const Limits& limits = case_limits;  // C++20 lets no lambda take a binding; clang 14 minds
    const auto source = MediaSource::from_path(path);
    const Error here = error_of([&] { Media(source, limits); });
    const Error there = error_of([&] { confined(source, limits); });
    EXPECT_EQ(there.code(), here.code()) << path;
    EXPECT_STREQ(there.what(), here.what());
  }
  EXPECT_TRUE(all_gone());
}

TEST(Sandbox, ACrashIsAnErrorAndTheNextMediaIsNot) {
  Media media = confined(MediaSource::from_path(clip("groups.mp4")));
  const auto running = decoders();
  ASSERT_EQ(running.size(), 1u);
  FrameReader reader(media, all_frames(media.frame_index().size()));
  RgbFrame frame;
  ASSERT_TRUE(reader.next(frame));
  ASSERT_EQ(::kill(running.front(), SIGKILL), 0);  // not SIGSEGV, which ASan catches
  const Error crashed = error_of([&] {
    while (reader.next(frame)) {
    }
  });
  EXPECT_EQ(crashed.code(), ErrorCode::kFormat);
  EXPECT_NE(std::string(crashed.what()).find("signal 9"), std::string::npos) << crashed.what();
  EXPECT_EQ(error_of([&] { frame_crcs(media, {0}); }).code(), ErrorCode::kIo);  // for good
  Media next = confined(MediaSource::from_path(clip("groups.mp4")));
  EXPECT_EQ(next.frame_index().size(), 60);
}

TEST(Sandbox, DecodersEndWithTheirMedia) {
  {
    Media media = confined(MediaSource::from_path(clip("groups.mp4")));
    FrameReader reader(media, all_frames(media.frame_index().size()));
    EXPECT_EQ(decoders().size(), 1u);
  }
  EXPECT_TRUE(all_gone());
}

TEST(Sandbox, CancelDoesNotWaitForAStuckDecoder) {
  Media media = confined(MediaSource::from_path(clip("groups.mp4")));
  const auto running = decoders();
  ASSERT_EQ(running.size(), 1u);
  ASSERT_EQ(::kill(running.front(), SIGSTOP), 0);
  CancelToken deadline;
  deadline.set_deadline(CancelToken::Clock::now() + std::chrono::milliseconds(100));
  EXPECT_EQ(error_of([&] { media.frame_index(&deadline); }).code(), ErrorCode::kCancelled);
  ASSERT_EQ(::kill(running.front(), SIGCONT), 0);
  EXPECT_EQ(media.frame_index().size(), 60);  // usable afterwards
}

TEST(Sandbox, MemoryIsLimited) {
#ifdef __SANITIZE_ADDRESS__  // whose shadow no limit would allow
  EXPECT_EQ(confined(MediaSource::from_path(clip("groups.mp4"))).frame_index().size(), 60);
#else
  const TemporaryFolder folder;
  auto small = Sandbox::Options();
  small.memory_bytes = 1 << 20;
  // A second sandbox: the first one's threads are in other processes.
  const std::unique_ptr<Sandbox> tight = Sandbox::start(small);
  const Error error = error_of([&] {
    Media media(MediaSource::from_path(clip("groups.mp4")), {}, nullptr, tight.get());
    frame_crcs(media, all_frames(media.frame_index().size()));
  });
  EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory) << error.what();
#endif
}

TEST(Sandbox, NeedsAProcessWithOneThread) {
  std::atomic<bool> stop{false};
  std::thread other([&] {
    while (!stop) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  EXPECT_EQ(error_of([] { Sandbox::start(); }).code(), ErrorCode::kInvalidArgument);
  stop = true;
  other.join();
}

// A shell's ulimit -f counts for shared memory: frames that fit are read, others refused by name,
// and nobody gets the signal that a file too large ends a process with.
TEST(Sandbox, AFileSizeLimitBoundsTheFramesNotTheFile) {
  const Sandbox& decoders_of = sandbox();                               // before there is a limit
  const Limits patient = {.probe_seconds = 600, .stall_seconds = 600};  // a machine at a standstill
  const auto outcome_at = [&](rlim_t bytes) {
    const rlimit limit{bytes, RLIM_INFINITY};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      Media media(MediaSource::from_path(clip("sizes.ts")), patient, nullptr, &decoders_of);
      FrameReader reader(media, all_frames(media.frame_index().size()), patient);
      int n = 0;
      for (RgbFrame frame; reader.next(frame); ++n) {
      }
      return n;  // 24
    } catch (const Error& e) {
      const std::string what = e.what();
      const bool named = e.code() == ErrorCode::kLimit &&
                         what.find("sizes.ts") != std::string::npos &&
                         what.find("ulimit -f") != std::string::npos;
      if (!named) return 100;
      return what.find("64x48") != std::string::npos   ? 101
             : what.find("96x64") != std::string::npos ? 102
                                                       : 103;
    }
  };
  constexpr rlim_t kPage = 4096;  // 64x48: 9216 bytes a frame; then 96x64: 18432
  EXPECT_EQ(in_child([&] { return outcome_at(2 * 5 * kPage); }), 24);
  EXPECT_EQ(in_child([&] { return outcome_at(2 * 5 * kPage - 1); }), 102);  // at frame 12
  EXPECT_EQ(in_child([&] { return outcome_at(2 * 3 * kPage); }), 102);
  EXPECT_EQ(in_child([&] { return outcome_at(2 * 3 * kPage - 1); }), 101);
  EXPECT_EQ(in_child([&] { return outcome_at(0); }), 103);
  EXPECT_EQ(
      in_child([&] {
        const rlimit limit{1000, RLIM_INFINITY};
        ::setrlimit(RLIMIT_FSIZE, &limit);
        return error_of([] { make_memory_file(1001, "copy"); }).code() == ErrorCode::kLimit ? 0 : 1;
      }),
      0);
}

}  // namespace
}  // namespace reelm::preprocess
