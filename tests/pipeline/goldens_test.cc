// Every committed golden of the reference implementation, rerun.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/safetensors.h"
#include "pipeline/verify.h"
#include "tests/support/random_model.h"

namespace reelm::pipeline {
namespace {

std::vector<std::filesystem::path> goldens() {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(REELM_TEST_GOLDENS)) {
    if (entry.path().extension() == ".safetensors") out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// Where a golden's model is: models/demo, or random weights made again from their spec.
std::filesystem::path model_of(const std::filesystem::path& golden,
                               const std::filesystem::path& scratch) {
  const SafetensorsFile file = SafetensorsFile::open(golden);
  const auto spec = file.metadata().find("model_spec");
  if (spec == file.metadata().end()) return {};
  const std::string name = std::filesystem::path(spec->second).stem();
  test::write_random_model(scratch / name, name);
  return scratch / name;
}

class GoldenTest : public ::testing::TestWithParam<std::filesystem::path> {
 protected:
  void SetUp() override {
    scratch_ =
        std::filesystem::temp_directory_path() / ("reelm_goldens_" + std::to_string(::getpid()));
    std::filesystem::create_directories(scratch_);
  }
  void TearDown() override { std::filesystem::remove_all(scratch_); }

  void verify(Dtype dtype) {
    VerifyOptions options;
    options.model = model_of(GetParam(), scratch_);
    options.dtype = dtype;
    const VerifyReport report = verify_golden(GetParam(), options);
    for (const VerifyRow& row : report.rows) {
      EXPECT_TRUE(row.pass) << row.stage << ": max abs " << row.max_abs << ", relative L2 "
                            << row.relative_l2 << ", exact " << row.exact_fraction << ", bound "
                            << row.bound << "\nto make goldens again: python tools/make_goldens.py";
    }
    // The last row but one or two are the tokens; a report without them proves nothing.
    EXPECT_GE(report.rows.size(), 5u);
  }
  std::filesystem::path scratch_;
};

TEST_P(GoldenTest, F32) { verify(Dtype::kF32); }
TEST_P(GoldenTest, Bf16) { verify(Dtype::kBF16); }

INSTANTIATE_TEST_SUITE_P(All, GoldenTest, ::testing::ValuesIn(goldens()),
                         [](const auto& instance) { return instance.param.stem().string(); });

}  // namespace
}  // namespace reelm::pipeline
