#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/config_testing.h"
#include "vision/qwen3_vl/config.h"

namespace reelm::vision::qwen3_vl {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Qwen3VlVisionConfigTest : public testing::ConfigTest<load_vision_config> {
 protected:
  Qwen3VlVisionConfigTest() : ConfigTest(R"({"vision_config": {)", "}}") {}
};

TEST_F(Qwen3VlVisionConfigTest, ReadsTheSizesOf4B) {
  const VisionConfig c = load(R"("deepstack_visual_indexes": [5, 11, 17], "depth": 24,
      "hidden_act": "gelu_pytorch_tanh", "hidden_size": 1024, "in_channels": 3,
      "intermediate_size": 4096, "num_heads": 16, "num_position_embeddings": 2304,
      "out_hidden_size": 2560, "patch_size": 16, "spatial_merge_size": 2,
      "temporal_patch_size": 2)");
  EXPECT_EQ(c.embed_dim, 1024);
  EXPECT_EQ(c.hidden_size, 2560);
  EXPECT_EQ(c.head_dim(), 64);
  EXPECT_EQ(c.patch_dim(), 1536);
  EXPECT_EQ(c.grid_side(), 48);
  EXPECT_THAT(c.deepstack_visual_indexes, ElementsAre(5, 11, 17));
}

TEST_F(Qwen3VlVisionConfigTest, DefaultsAreThoseOfTransformers) {
  const VisionConfig c = load("");
  EXPECT_EQ(c.depth, 27);
  EXPECT_EQ(c.embed_dim, 1152);
  EXPECT_EQ(c.intermediate_size, 4304);
  EXPECT_EQ(c.patch_size, 16);
  EXPECT_EQ(c.num_position_embeddings, 2304);
  EXPECT_THAT(c.deepstack_visual_indexes, ElementsAre(8, 16, 24));
}

TEST_F(Qwen3VlVisionConfigTest, NamesWhatIsWrong) {
  EXPECT_THAT(error_of(R"("hidden_act": "gelu")"), HasSubstr("expected 'gelu_pytorch_tanh'"));
  EXPECT_THAT(error_of(R"("num_position_embeddings": 0)"), HasSubstr("num_position_embeddings"));
  EXPECT_THAT(error_of(R"("deepstack_visual_indexes": [1, -1])"), HasSubstr("is [1,-1]"));
  for (const char* wrong : {"[2, 1]", "[1, 1]", "[8, 27]"}) {
    EXPECT_THAT(error_of(R"("deepstack_visual_indexes": )" + std::string(wrong)),
                HasSubstr("must ascend and be below depth 27"));
  }
}

}  // namespace
}  // namespace reelm::vision::qwen3_vl
