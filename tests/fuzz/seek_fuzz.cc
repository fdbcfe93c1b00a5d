// A clip of the repository (the first byte), then readers one after the other, each with threads
// and rising frame numbers, perhaps given up half-way.
// Holds: with seeking come the very frames that decoding everything from the start gives.
#include <map>

#include "preprocess/frame_reader.h"
#include "tests/fuzz/fuzz.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::fuzz {
namespace {

using namespace preprocess;
using preprocess::testing::all_frames;
using preprocess::testing::frame_crcs;

constexpr int kMostReaders = 4;
constexpr std::size_t kMostFrames = 12;  // of one reader

struct Clip {
  std::vector<std::byte> bytes;
  std::vector<std::uint32_t> crcs;  // of all frames, without seeking
  Media open() const { return Media(MediaSource::from_memory(bytes, "clip")); }
};

std::vector<Clip> load_clips() {
  std::vector<std::filesystem::path> paths;
  for (const char* folder : {"tests/media", "tests/goldens/media"}) {
    for (const auto& entry : std::filesystem::directory_iterator(testing::kSource / folder)) {
      paths.push_back(entry.path());
    }
  }
  std::sort(paths.begin(), paths.end());
  std::vector<Clip> clips;
  for (const auto& path : paths) {
    Clip clip{.bytes = testing::read_file(path), .crcs = {}};
    const bool decodes = succeeds([&] {  // some clips are there to be refused
      Media media = clip.open();
      if (media.is_image()) return;
      clip.crcs = frame_crcs(media, all_frames(media.frame_index().size()), {.allow_seek = false});
    });
    if (decodes && !clip.crcs.empty()) clips.push_back(std::move(clip));
  }
  return clips;
}

/// Rising, repeats allowed; the steps come from the input.
std::vector<std::int64_t> take_indices(Input& in, std::int64_t total) {
  std::vector<std::int64_t> indices;
  const auto n = static_cast<std::size_t>(in.number(1, kMostFrames));
  for (std::int64_t at = in.number(0, total - 1); at < total && indices.size() < n;
       at += in.number(0, total - 1)) {
    indices.push_back(at);
  }
  return indices;
}

void run_reader(Input& in, const Clip& clip, Media& media) {
  FrameReader::Options options;
  options.threads = static_cast<int>(in.number(1, 3));
  const auto total = static_cast<std::int64_t>(clip.crcs.size());
  std::size_t left = in.coin() ? 1 + in.take<std::uint8_t>() % kMostFrames : kMostFrames;
  const auto indices = take_indices(in, total);
  FrameReader reader(media, indices, {}, nullptr, options);
  std::size_t n = 0;
  for (RgbFrame frame; left-- > 0 && reader.next(frame); ++n) {
    REELM_CHECK(frame.index == indices[n]);
    const auto i = static_cast<std::size_t>(frame.index);
    REELM_CHECK(frame.pts == media.frame_index().pts[i]);
    REELM_CHECK(testing::crc32(frame.pixels) == clip.crcs[i]);
  }
  REELM_CHECK(n > 0);
  for (const std::string& warning : reader.warnings()) {  // sizes.ts
    REELM_CHECK(warning.find("size changes") != std::string::npos);
  }
}

}  // namespace

void fuzz_one(Bytes input) {
  static const std::vector<Clip> clips = load_clips();
  Input in(input);
  const Clip& clip = clips[in.take<std::uint8_t>() % clips.size()];
  Media media = clip.open();
  for (int i = 0; i < kMostReaders && !in.empty(); ++i) run_reader(in, clip, media);
}

}  // namespace reelm::fuzz
