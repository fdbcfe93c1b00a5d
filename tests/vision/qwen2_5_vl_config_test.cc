#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/config_testing.h"
#include "vision/qwen2_5_vl/config.h"

namespace reelm::vision::qwen2_5_vl {
namespace {

using ::testing::HasSubstr;

class Qwen25VlVisionConfigTest : public testing::ConfigTest<load_vision_config> {
 protected:
  Qwen25VlVisionConfigTest() : ConfigTest(R"({"vision_config": {)", "}}") {}
};

// Of Qwen2.5-VL-3B-Instruct.
constexpr const char* kPublished = R"("depth": 32, "hidden_act": "silu", "hidden_size": 1280,
    "intermediate_size": 3420, "num_heads": 16, "in_chans": 3, "out_hidden_size": 2048,
    "patch_size": 14, "spatial_merge_size": 2, "spatial_patch_size": 14, "window_size": 112,
    "fullatt_block_indexes": [7, 15, 23, 31], "tokens_per_second": 2, "temporal_patch_size": 2)";

TEST_F(Qwen25VlVisionConfigTest, ReadsThePublishedFile) {
  const VisionConfig c = load(kPublished);
  EXPECT_EQ(c.embed_dim, 1280);
  EXPECT_EQ(c.hidden_size, 2048);
  EXPECT_EQ(c.intermediate_size, 3420);
  EXPECT_EQ(c.head_dim(), 80);
  EXPECT_EQ(c.patch_dim(), 1176);
  EXPECT_EQ(c.window_side(), 4);
  EXPECT_TRUE(c.full_attention(7) && c.full_attention(31));
  EXPECT_FALSE(c.full_attention(0) || c.full_attention(8));
}

TEST_F(Qwen25VlVisionConfigTest, DefaultsAreThoseOfTransformers) {
  const VisionConfig c = load(R"("num_heads": 16)");
  EXPECT_EQ(c.embed_dim, 3584);
  EXPECT_EQ(c.intermediate_size, 3420);
  EXPECT_EQ(c.window_size, 112);
  EXPECT_EQ(c.fullatt_block_indexes, (std::vector<std::int64_t>{7, 15, 23, 31}));
}

TEST_F(Qwen25VlVisionConfigTest, NamesWhatIsWrong) {
  EXPECT_THAT(error_of(R"("hidden_size": 100, "num_heads": 3)"), HasSubstr("hidden_size 100"));
  EXPECT_THAT(error_of(R"("hidden_size": "x")"), HasSubstr("hidden_size"));
  EXPECT_THAT(error_of(R"("out_hidden_size": 0)"), HasSubstr("out_hidden_size"));
  EXPECT_THAT(error_of(R"("intermediate_size": 0)"), HasSubstr("intermediate_size"));
  EXPECT_THAT(error_of(R"("hidden_act": "gelu")"), HasSubstr("'gelu', expected 'silu'"));
  EXPECT_THAT(error_of(R"("window_size": 27)"), HasSubstr("window_size"));
  EXPECT_THAT(error_of(R"("fullatt_block_indexes": 7)"),
              HasSubstr("'fullatt_block_indexes' is 7, expected a list"));
  EXPECT_THAT(error_of(R"("fullatt_block_indexes": [1, -1])"), HasSubstr("is [1,-1]"));
  EXPECT_THAT(error_of(R"("fullatt_block_indexes": [99999999999999999999])"),
              HasSubstr("fullatt_block_indexes"));
  EXPECT_THAT(error_of(R"("rope_parameters": {"rope_type": "yarn"})"), HasSubstr("'yarn'"));
}

}  // namespace
}  // namespace reelm::vision::qwen2_5_vl
