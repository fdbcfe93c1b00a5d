#include "vision/qwen2_vl/config.h"

#include <gtest/gtest.h>

#include "tests/support/config_testing.h"

namespace reelm::vision::qwen2_vl {
namespace {

using VisionConfigTest = testing::ConfigTest<load_vision_config>;

TEST_F(VisionConfigTest, ReadsTheOldLayout) {
  const VisionConfig c = load(R"({"hidden_size": 1536, "vision_config": {"depth": 32,
      "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_chans": 3, "hidden_size": 1536,
      "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14,
      "temporal_patch_size": 2}})");
  EXPECT_EQ(c.depth, 32);
  EXPECT_EQ(c.head_dim(), 80);
  EXPECT_EQ(c.patch_dim(), 1176);
  EXPECT_EQ(c.intermediate_size, 5120);
  EXPECT_EQ(c.hidden_size, 1536);
}

TEST_F(VisionConfigTest, ReadsTheNewLayout) {
  const VisionConfig c = load(R"({"vision_config": {"depth": 4, "embed_dim": 160, "num_heads": 2,
      "hidden_size": 256, "in_channels": 3, "mlp_ratio": 2.5, "hidden_act": "quick_gelu",
      "rope_parameters": {"rope_theta": 5000.0, "rope_type": "axial"}}})");
  EXPECT_EQ(c.intermediate_size, 400);
  EXPECT_EQ(c.rope_theta, 5000.0);
}

TEST_F(VisionConfigTest, NamesWhatIsWrong) {
  EXPECT_NE(error_of("{}").find("vision_config"), std::string::npos);
  EXPECT_NE(error_of(R"({"vision_config": {"depth": 0}})").find("depth"), std::string::npos);
  EXPECT_NE(error_of(R"({"vision_config": {"depth": 1e30}})").find("depth"), std::string::npos);
  EXPECT_NE(error_of(R"({"vision_config": {"hidden_act": "gelu"}})").find("quick_gelu"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"vision_config": {"embed_dim": 100, "num_heads": 3}})").find("num_heads"),
            std::string::npos);
  EXPECT_NE(error_of(R"({"vision_config": {"mlp_ratio": -1}})").find("mlp_ratio"),
            std::string::npos);
}

}  // namespace
}  // namespace reelm::vision::qwen2_vl
