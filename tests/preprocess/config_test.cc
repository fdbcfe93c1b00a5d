// Reading a model's preprocessor files.
#include "preprocess/config.h"

#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::error_of;
using testing::TemporaryFolder;

TEST(Config, DefaultsWithoutFiles) {
  const TemporaryFolder folder;
  const PreprocessorConfig c = load_preprocessor_config(folder.path());
  EXPECT_EQ(c.factor(), 28);
  EXPECT_EQ(c.temporal_patch_size, 2);
  EXPECT_DOUBLE_EQ(c.image_mean[0], 0.48145466);
  EXPECT_FALSE(c.image_max_pixels);
  EXPECT_FALSE(c.video_max_pixels);
  EXPECT_FALSE(c.fps);
}

TEST(Config, ImageLimitsAreNotVideoLimits) {
  const TemporaryFolder folder;
  folder.write("preprocessor_config.json",
               R"({"min_pixels": 3136, "max_pixels": 12845056, "patch_size": 14,
                   "image_processor_type": "Qwen2VLImageProcessor"})");
  const PreprocessorConfig c = load_preprocessor_config(folder.path());
  EXPECT_EQ(c.image_min_pixels, 3136);
  EXPECT_EQ(c.image_max_pixels, 12845056);
  EXPECT_FALSE(c.video_min_pixels);
  EXPECT_FALSE(c.video_max_pixels);
}

TEST(Config, VideoLimitsFromFilesWrittenForVideo) {
  const TemporaryFolder folder;
  folder.write("preprocessor_config.json",
               R"({"size": {"shortest_edge": 10, "longest_edge": 20}})");
  folder.write(
      "video_preprocessor_config.json",
      R"({"size": {"shortest_edge": 100, "longest_edge": 300}, "max_pixels": 200, "fps": 1.5,
                   "min_frames": 6, "max_frames": 12, "image_std": [0.5, 0.5, 0.25]})");
  PreprocessorConfig c = load_preprocessor_config(folder.path());
  EXPECT_EQ(c.image_max_pixels, 20);
  EXPECT_EQ(c.video_min_pixels, 100);
  EXPECT_EQ(c.video_max_pixels, 200);  // max_pixels wins over size
  EXPECT_EQ(c.fps, 1.5);
  EXPECT_EQ(c.min_frames, 6);
  EXPECT_EQ(c.max_frames, 12);
  EXPECT_EQ(c.image_std[2], 0.25);
  // What transformers 5 writes comes first.
  folder.write("processor_config.json",
               R"({"video_processor": {"size": {"shortest_edge": 7, "longest_edge": 8}},
                   "image_processor": {"size": {"shortest_edge": 5, "longest_edge": 6}}})");
  c = load_preprocessor_config(folder.path());
  EXPECT_EQ(c.video_max_pixels, 8);
  EXPECT_EQ(c.image_max_pixels, 6);
  const TemporaryFolder shared;
  shared.write("preprocessor_config.json",
               R"({"video_processor_type": "Qwen2VLVideoProcessor", "size": {"longest_edge": 9}})");
  EXPECT_EQ(load_preprocessor_config(shared.path()).video_max_pixels, 9);
}

TEST(Config, ErrorsNameFileAndKey) {
  const auto refused = [](const char* text, ErrorCode code, const char* key) {
    const TemporaryFolder folder;
    folder.write("preprocessor_config.json", text);
    const Error e = error_of([&] { load_preprocessor_config(folder.path()); });
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_NE(std::string(e.what()).find("preprocessor_config.json"), std::string::npos)
        << e.what();
    EXPECT_NE(std::string(e.what()).find(key), std::string::npos) << e.what();
  };
  refused("{", ErrorCode::kFormat, "JSON");
  refused("[]", ErrorCode::kFormat, "object");
  refused(R"({"patch_size": 0})", ErrorCode::kFormat, "patch_size");
  refused(R"({"patch_size": "14"})", ErrorCode::kFormat, "patch_size");
  refused(R"({"image_mean": [0.5]})", ErrorCode::kFormat, "image_mean");
  refused(R"({"image_std": [0.5, 0, 0.5]})", ErrorCode::kFormat, "image_std");
  refused(R"({"rescale_factor": 0})", ErrorCode::kFormat, "rescale_factor");
  refused(R"({"size": {"shortest_edge": -1}})", ErrorCode::kFormat, "shortest_edge");
  refused(R"({"min_pixels": 20, "max_pixels": 10})", ErrorCode::kFormat, "20");
  refused(R"({"do_normalize": false})", ErrorCode::kUnsupported, "do_normalize");
  refused(R"({"resample": 2})", ErrorCode::kUnsupported, "resample");
  EXPECT_EQ(error_of([] { load_preprocessor_config("no/such/folder"); }).code(),
            ErrorCode::kNotFound);
}

}  // namespace
}  // namespace reelm::preprocess
