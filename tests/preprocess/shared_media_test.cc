// Real clips of many containers and codecs, run where their folder is present. Prints what it did.
#include <algorithm>
#include <cctype>
#include <cstdio>

#include "preprocess/patch_reader.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

std::vector<std::filesystem::path> clips() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(REELM_SHARED_MEDIA)) {
    if (entry.path().extension() != ".md") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

// Those of which not one frame can be had.
bool is_hopeless(const std::filesystem::path& path) {
  return path.filename() == "invalid-bitstream.webm" || path.filename() == "invalid_userdata.mp4";
}

bool is_damaged(const std::filesystem::path& path) {
  return path.filename() == "corrupted.mp4" || path.filename() == "no_timescale.mp4";
}

class SharedMedia : public ::testing::TestWithParam<std::filesystem::path> {};

TEST_P(SharedMedia, GivesTheFramesItPlans) {
  const PreprocessorConfig config;
  try {
    Media media(MediaSource::from_path(GetParam()));
    const MediaPlan plan = plan_media(media, config);
    PatchReader reader(media, plan, config);
    PatchBatch slice;
    std::int64_t slices = 0;
    while (reader.next(slice)) ++slices;
    EXPECT_EQ(slices, plan.grid_thw[0]);
    EXPECT_FALSE(is_hopeless(GetParam()));
    std::printf(
        "  %lld frames, %.3f s, %lldx%lld to %lldx%lld, %zu taken, %zu warnings\n",
        static_cast<long long>(plan.total_frames), plan.duration_seconds,
        static_cast<long long>(plan.source.width), static_cast<long long>(plan.source.height),
        static_cast<long long>(plan.resized.width), static_cast<long long>(plan.resized.height),
        plan.frame_indices.size(), reader.warnings().size());
  } catch (const Error& e) {
    EXPECT_TRUE(is_hopeless(GetParam())) << e.what();
    std::printf("  refused: %s\n", e.what());
  }
}

TEST_P(SharedMedia, SeekingAndThreadsChangeNothing) {
  if (is_hopeless(GetParam()) || is_damaged(GetParam())) return;
  Media media(MediaSource::from_path(GetParam()));
  const std::int64_t n = media.frame_index().size();
  std::vector<std::int64_t> some;
  for (std::int64_t i = n / 7; i < n; i += std::max<std::int64_t>(n / 5, 1)) some.push_back(i);
  const auto expected = testing::frame_crcs(media, some, {.allow_seek = false, .threads = 1});
  EXPECT_EQ(testing::frame_crcs(media, some, {.threads = 3}), expected);
  EXPECT_EQ(testing::frame_crcs(media, {n - 1})[0],
            testing::frame_crcs(media, {n - 1}, {.allow_seek = false, .threads = 1})[0]);
  std::printf("  %zu of %lld frames compared\n", some.size(), static_cast<long long>(n));
}

INSTANTIATE_TEST_SUITE_P(Clips, SharedMedia, ::testing::ValuesIn(clips()),
                         [](const auto& parameter) {
                           std::string name = parameter.param.filename().string();
                           for (char& c : name)
                             c = std::isalnum(static_cast<unsigned char>(c)) != 0 ? c : '_';
                           return name;
                         });

}  // namespace
}  // namespace reelm::preprocess
