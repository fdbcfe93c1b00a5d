// Every committed golden of the reference implementation, rerun.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "core/safetensors.h"
#include "pipeline/verify.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::pipeline {
namespace {

/// Goldens for one dtype. In bf16 those of models stored in f32 stay out: rounding such weights is
/// a loss of its own, in the reference as well (random_odd_f32: its bf16 logits are 3.5e-2 from its
/// f32 ones, reelm's 3.0e-2).
std::vector<std::filesystem::path> goldens(Dtype dtype) {
  std::vector<std::filesystem::path> out;
  for (const auto& entry : std::filesystem::directory_iterator(REELM_TEST_GOLDENS)) {
    if (entry.path().extension() != ".safetensors") continue;
    const SafetensorsFile file = SafetensorsFile::open(entry.path());
    const bool stored_in_f32 = file.metadata().at("model").ends_with("_f32");
    if (dtype == Dtype::kF32 || !stored_in_f32) out.push_back(entry.path());
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

class GoldenTest : public testing::ScratchDirTest,
                   public ::testing::WithParamInterface<std::filesystem::path> {
 protected:
  void verify(Dtype dtype, Dtype vision = Dtype::kAuto) {
    VerifyOptions options;
    options.model = model_of(GetParam(), dir_);
    options.dtypes = {dtype, vision};
    options.layers = SafetensorsFile::open(GetParam()).find("decoder_last_layer") != nullptr;
    const VerifyReport report = verify_golden(GetParam(), options);
    for (const VerifyRow& row : report.rows) {
      EXPECT_TRUE(row.pass) << row.stage << ": max abs " << row.max_abs << ", relative L2 "
                            << row.relative_l2 << ", exact " << row.exact_fraction << ", bound "
                            << row.bound << "\nto make goldens again: python tools/make_goldens.py";
    }
    // The last row but one or two are the tokens; a report without them proves nothing.
    EXPECT_GE(report.rows.size(), 5u);
  }
};

class GoldenTestF32 : public GoldenTest {};
class GoldenTestBf16 : public GoldenTest {};
TEST_P(GoldenTestF32, Verifies) { verify(Dtype::kF32); }
TEST_P(GoldenTestBf16, Verifies) { verify(Dtype::kBF16); }
// Rounding weights loses more than these bounds forbid: they tell what was computed wrongly.
TEST_P(GoldenTestBf16, VerifiesInInt8) { verify(Dtype::kInt8, Dtype::kInt8); }
TEST_P(GoldenTestBf16, VerifiesInInt4) { verify(Dtype::kInt4); }

std::string name_of(const ::testing::TestParamInfo<std::filesystem::path>& instance) {
  return instance.param.stem().string();
}
INSTANTIATE_TEST_SUITE_P(All, GoldenTestF32, ::testing::ValuesIn(goldens(Dtype::kF32)), name_of);
INSTANTIATE_TEST_SUITE_P(All, GoldenTestBf16, ::testing::ValuesIn(goldens(Dtype::kBF16)), name_of);

}  // namespace
}  // namespace reelm::pipeline
