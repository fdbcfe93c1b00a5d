// What `reelm verify` says of differences.
#include "pipeline/verify.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>

#include "core/safetensors.h"
#include "pipeline/verify_row.h"
#include "tests/support/scratch_dir.h"

namespace reelm::pipeline {
namespace {

namespace fs = std::filesystem;

const fs::path kDemo = REELM_DEMO_MODEL;
const fs::path kGolden = fs::path(REELM_TEST_GOLDENS) / "demo_layers.safetensors";

TEST(VerifyRow, SaysHowFarAndToWhichSide) {
  const std::vector<float> ours = {3.0f, -1.0f, 4.0f, 4.0f}, reference = {3.0f, -1.0f, 4.0f, 2.0f};
  const VerifyRow row = compare("x", ours, reference);
  EXPECT_DOUBLE_EQ(row.max_abs, 2.0);
  EXPECT_DOUBLE_EQ(row.relative_l2, 2.0 / std::sqrt(30.0));
  EXPECT_DOUBLE_EQ(row.signed_error, 2.0 / 10.0);
  EXPECT_DOUBLE_EQ(row.exact_fraction, 0.75);
  EXPECT_DOUBLE_EQ(compare("x", reference, ours).signed_error, -2.0 / 8.0);
  EXPECT_EQ(compare("x", ours, ours).signed_error, 0.0);
}

TEST(VerifyRow, NothingButNumbersWithinTheBoundPasses) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinite = std::numeric_limits<float>::infinity();
  const std::vector<float> good = {1.0f, 2.0f};
  EXPECT_TRUE(with_l2_bound(compare("x", good, good), 1e-4).pass);
  for (const auto& bad : std::vector<std::vector<float>>{
           {1.0f, nan}, {nan, 2.0f}, {1.0f, infinite}, {1.0f}, {}, {1.0f, 2.1f}}) {
    EXPECT_FALSE(with_l2_bound(compare("x", bad, good), 1e-4).pass);
    EXPECT_FALSE(with_l2_bound(compare("x", good, bad), 1e-4).pass);
  }
  EXPECT_NE(compare("x", good, {}).stage.find("2 values, expected 0"), std::string::npos);
}

class VerifyLayersTest : public testing::ScratchDirTest {
 protected:
  static VerifyReport verify(const fs::path& model, const fs::path& golden = kGolden) {
    VerifyOptions options;
    options.model = model;
    options.media = {kDemo / "sample.mp4"};
    options.layers = true;
    return verify_golden(golden, options);
  }
  /// A copy of the demo model with one tensor doubled.
  fs::path doubled(const std::string& name) {
    const fs::path to = dir_ / "model";
    fs::remove_all(to);
    fs::copy(kDemo, to);
    const SafetensorsFile file = SafetensorsFile::open(kDemo / "model.safetensors");
    std::vector<StoredTensor> tensors = file.tensors();
    const auto found = std::find_if(tensors.begin(), tensors.end(),
                                    [&](const StoredTensor& t) { return t.name == name; });
    EXPECT_NE(found, tensors.end()) << name;
    std::vector<std::byte> bytes(found->bytes.begin(), found->bytes.end());
    for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) {
      std::uint16_t bits = 0;
      std::memcpy(&bits, &bytes[i], 2);
      if ((bits & 0x7f80) != 0) bits = static_cast<std::uint16_t>(bits + 0x80);  // exponent of bf16
      std::memcpy(&bytes[i], &bits, 2);
    }
    found->bytes = bytes;
    write_safetensors(to / "model.safetensors", tensors, file.metadata(), {});
    return to;
  }
  /// The demo's golden with its metadata or tensors changed.
  fs::path golden_with(const std::function<void(std::vector<StoredTensor>&,
                                                std::map<std::string, std::string>&)>& change) {
    const SafetensorsFile file = SafetensorsFile::open(kGolden);
    std::vector<StoredTensor> tensors = file.tensors();
    auto metadata = file.metadata();
    change(tensors, metadata);
    const fs::path to = dir_ / "golden.safetensors";
    write_safetensors(to, tensors, metadata, {});
    return to;
  }
  static std::string error_of(const std::function<void()>& fn) {
    try {
      fn();
    } catch (const Error& error) {
      return error.what();
    }
    return "nothing was thrown";
  }
  static std::string first_failure(const VerifyReport& report) {
    for (const VerifyRow& row : report.rows) {
      if (!row.pass) return row.stage;
    }
    return "";
  }
};

TEST_F(VerifyLayersTest, EveryLayerIsCompared) {
  const VerifyReport report = verify(kDemo);
  EXPECT_TRUE(report.pass()) << first_failure(report);
  std::string layers;
  for (const VerifyRow& row : report.rows) {
    if (row.stage.find("layer") != std::string::npos) layers += row.stage + ", ";
  }
  EXPECT_EQ(layers,
            "vision layer 0, vision layer 1, vision layer 2, vision layer 3, decoder layer 0, "
            "decoder layer 1, decoder layer 2, decoder layer 3, ");
}

TEST_F(VerifyLayersTest, TheFirstFailureIsTheLayerThatIsWrong) {
  for (const auto& [tensor, layer] : std::map<std::string, std::string>{
           {"visual.blocks.1.mlp.fc2.weight", "vision layer 1"},
           {"visual.blocks.3.norm1.weight", "vision layer 3"},
           {"visual.merger.mlp.2.weight", "vision_embeds"},
           {"model.layers.0.self_attn.o_proj.weight", "decoder layer 0"},
           {"model.layers.2.mlp.down_proj.weight", "decoder layer 2"},
           {"model.layers.3.self_attn.v_proj.weight", "decoder layer 3"},
           {"model.norm.weight", "logits"},
       }) {
    EXPECT_EQ(first_failure(verify(doubled(tensor))), layer) << tensor;
  }
}

TEST_F(VerifyLayersTest, GoldensWithoutLayersOrWithWrongSizesAreErrorsOrFail) {
  const std::string without =
      error_of([] { verify(kDemo, fs::path(REELM_TEST_GOLDENS) / "demo_direction.safetensors"); });
  EXPECT_NE(without.find("made with tools/make_golden.py --layers"), std::string::npos) << without;
  for (const char* stride : {"0", "-1", "x", ""}) {
    for (const char* tensor : {"decoder_layers", "vision_layers", "pixel_values"}) {
      const std::string key = std::string(tensor) + "_row_stride";
      const fs::path golden = golden_with([&](auto&, auto& metadata) { metadata[key] = stride; });
      const std::string error = error_of([&] { verify(kDemo, golden); });
      EXPECT_NE(error.find(key), std::string::npos) << error;
    }
  }
  const fs::path fewer = golden_with([](auto& tensors, auto&) {
    for (StoredTensor& t : tensors) {
      if (t.name != "decoder_layers") continue;
      t.bytes = t.bytes.first(t.bytes.size() / 3);
      t.shape[0] = 1;
    }
  });
  EXPECT_EQ(first_failure(verify(kDemo, fewer)), "decoder layer 1");
}

}  // namespace
}  // namespace reelm::pipeline
