#include "tests/support/random_model.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace reelm::test {
namespace {

namespace fs = std::filesystem;

std::string contents(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST(RandomModel, Fnv1a64OfKnownStrings) {
  EXPECT_EQ(fnv1a64(""), 0xCBF29CE484222325U);
  EXPECT_EQ(fnv1a64("a"), 0xAF63DC4C8601EC8CU);
  EXPECT_EQ(fnv1a64("foobar"), 0x85944171F73967E8U);
}

TEST(RandomModel, RoundsToHalfAsIeeeSays) {
  EXPECT_EQ(to_f16(1.0F), 0x3C00);
  EXPECT_EQ(to_f16(-2.0F), 0xC000);
  EXPECT_EQ(to_f16(0.0F), 0x0000);
  EXPECT_EQ(to_f16(1.0F + 0x1p-11F), 0x3C00);  // a tie goes to even
  EXPECT_EQ(to_f16(1.0F + 0x3p-11F), 0x3C02);  // and here that is up
  EXPECT_EQ(to_f16(1.0F + 0x1p-11F + 0x1p-20F), 0x3C01);
  EXPECT_EQ(to_f16(0x1p-14F), 0x0400);  // the smallest normal
  EXPECT_EQ(to_f16(0x1p-14F - 0x1p-24F), 0x03FF);
  EXPECT_EQ(to_f16(-0x3p-24F), 0x8003);
  EXPECT_EQ(to_f16(0x1p-14F - 0x1p-38F), 0x0400);  // up into the normals
}

TEST(RandomModel, RoundsToBfloat16) {
  EXPECT_EQ(to_bf16(1.0F), 0x3F80);
  EXPECT_EQ(to_bf16(1.0F + 0x1p-8F), 0x3F80);
  EXPECT_EQ(to_bf16(1.0F + 0x3p-8F), 0x3F82);
  EXPECT_EQ(to_bf16(-1.5F), 0xBFC0);
}

TEST(RandomModel, WeightsAreUniformAroundTheBias) {
  double sum = 0, squares = 0;
  constexpr int kCount = 20000, kGain = 64;
  for (int i = 0; i < kCount; ++i) {
    const float x = random_weight(fnv1a64("1/x"), i, kGain, 1);
    ASSERT_GE(x, 0.5F);
    ASSERT_LT(x, 1.5F);
    sum += x;
    squares += (x - 1.0) * (x - 1.0);
  }
  EXPECT_NEAR(sum / kCount, 1.0, 0.01);
  EXPECT_NEAR(squares / kCount, 1.0 / 12, 0.005);
}

// The checksums in the specs come from Python: writing throws when C++ makes other weights.
TEST(RandomModel, EverySpecHasPythonsWeights) {
  const auto names = random_model_names();
  ASSERT_GE(names.size(), 6U);
  const fs::path root = fs::path(testing::TempDir()) / "reelm_random_models";
  for (const auto& name : names) {
    SCOPED_TRACE(name);
    const fs::path dir = root / name;
    ASSERT_NO_THROW(write_random_model(dir, name));
    EXPECT_TRUE(fs::exists(dir / "config.json"));
    EXPECT_TRUE(fs::exists(dir / "tokenizer_config.json"));
    int tokenizers = 0;
    for (const char* file :
         {"tokenizer.json", "merges.txt", "qwen.tiktoken", "tokenizer.model", "ice_text.model"}) {
      tokenizers += fs::exists(dir / file) ? 1 : 0;
    }
    EXPECT_EQ(tokenizers, 1);
    EXPECT_NE(fs::exists(dir / "model.safetensors"),
              fs::exists(dir / "model.safetensors.index.json"));
  }
  fs::remove_all(root);
}

TEST(RandomModel, SaysWhichSpecIsMissing) {
  const fs::path dir = fs::path(testing::TempDir()) / "reelm_no_such_model";
  try {
    write_random_model(dir, "no_such_model");
    FAIL() << "nothing thrown";
  } catch (const std::runtime_error& e) {
    EXPECT_NE(std::string(e.what()).find("no_such_model.json"), std::string::npos) << e.what();
  }
}

TEST(RandomModel, MergesBeginWithTheVersionLine) {
  const fs::path dir = fs::path(testing::TempDir()) / "reelm_merges";
  write_random_model(dir, "odd_f32");
  EXPECT_EQ(contents(dir / "merges.txt").substr(0, 14), "#version: 0.2\n");
  fs::remove_all(dir);
}

}  // namespace
}  // namespace reelm::test
