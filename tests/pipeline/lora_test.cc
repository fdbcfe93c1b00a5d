// LoRA adapters: the same answers as PEFT's merged models, and what is refused.
#include "layers/lora.h"

#include <nlohmann/json.hpp>

#include "pipeline/convert.h"
#include "pipeline/verify.h"
#include "tests/pipeline/packed_testing.h"

namespace reelm::pipeline {
namespace {

using Json = nlohmann::json;
using Change = std::function<void(Json&)>;

class LoraTest : public PackedTest {
 protected:
  /// `name` of tests/goldens/lora.
  fs::path adapter(const std::string& name) {
    const fs::path out = dir_ / ("adapter_" + name);
    if (!fs::exists(out)) test::write_random_adapter(out, name);
    return out;
  }
  static VerifyReport verify(const std::string& name, const fs::path& model, Adapters adapters,
                             Dtype dtype = Dtype::kF32) {
    VerifyOptions options;
    options.model = model;
    options.media = {};
    if (name == "demo") options.media = {fs::path(REELM_DEMO_MODEL) / "sample.mp4"};
    options.adapters = std::move(adapters);
    options.dtypes = {dtype, Dtype::kAuto};
    return verify_golden(test::goldens_dir() / "lora" / (name + ".safetensors"), options);
  }
  static void expect_pass(const VerifyReport& report) {
    for (const VerifyRow& row : report.rows) {
      EXPECT_TRUE(row.pass) << row.stage << ": relative L2 " << row.relative_l2 << ", bound "
                            << row.bound;
    }
    EXPECT_GE(report.rows.size(), 5u);
  }

  /// What is said of the adapter "text" after `change` of its adapter_config.json.
  Error config_error(const Change& change) {
    const fs::path path = adapter("text") / "adapter_config.json";
    Json json = Json::parse(contents(path));
    change(json);
    put(path, json.dump());
    const Error error = error_of([&] { (void)layers::LoraAdapter::open(path.parent_path(), 1.0); });
    fs::remove_all(path.parent_path());
    return error;
  }
  /// Likewise, of its tensors; the model of the adapter is opened with it.
  Error tensor_error(const std::function<void(std::vector<StoredTensor>&)>& change) {
    const fs::path path = adapter("text") / "adapter_model.safetensors";
    const fs::path changed = dir_ / "changed.safetensors";
    {
      const SafetensorsFile file = SafetensorsFile::open(path);
      std::vector<StoredTensor> tensors = file.tensors();
      change(tensors);
      write_safetensors(changed, tensors);
    }
    fs::rename(changed, path);
    const Error error = error_of([&] {
      (void)open_model(model_, {.packed_cache = kNoCache, .adapters = {{path.parent_path()}}});
    });
    fs::remove_all(path.parent_path());
    return error;
  }
};

void expect_says(const Error& error, ErrorCode code, const std::vector<std::string>& words) {
  EXPECT_EQ(error.code(), code) << error.what();
  for (const std::string& word : words) {
    EXPECT_NE(std::string(error.what()).find(word), std::string::npos)
        << word << " in: " << error.what();
  }
}

// All linear layers of decoder and tower, alpha by module.
TEST_F(LoraTest, TheDemoIsPeftsMergedModel) {
  const Adapters merged = {{.directory = adapter("demo")}};
  expect_pass(verify("demo", REELM_DEMO_MODEL, merged));
  expect_pass(verify("demo", REELM_DEMO_MODEL, merged, Dtype::kBF16));
  EXPECT_FALSE(verify("demo", REELM_DEMO_MODEL, {}).pass());
}

// use_rslora, a scale beside the adapter's own, bf16; the checkpoint has the names of old.
TEST_F(LoraTest, ATextModelIsToo) {
  make_model("qwen2_head64_bf16");
  expect_pass(verify("text", model_, {{.directory = adapter("text"), .scale = 0.5}}));
  EXPECT_FALSE(verify("text", model_, {{.directory = adapter("text")}}).pass());
}

TEST_F(LoraTest, UpdatesAddUp) {
  make_model("qwen2_head64_bf16");
  const fs::path half = adapter("text");
  expect_pass(verify("text", model_, {{half, 0.75}, {half, -0.5}, {half, 0.25}}));
}

TEST_F(LoraTest, AConvertedModelHasItMerged) {
  const ModelDtypes int8 = {Dtype::kInt8, Dtype::kInt8};
  const Adapters merged = {{.directory = adapter("demo")}};
  const auto expected = logits_of(
      open_model(REELM_DEMO_MODEL, {.dtypes = int8, .packed_cache = kNoCache, .adapters = merged}));
  (void)convert_model(REELM_DEMO_MODEL, dir_ / "out", {.dtypes = int8, .adapters = merged});
  fs::remove_all(merged[0].directory);
  EXPECT_EQ(logits_of(open_model(dir_ / "out")), expected);
  EXPECT_NE(logits_of(open_model(REELM_DEMO_MODEL, {.dtypes = int8, .packed_cache = kNoCache})),
            expected);
  expect_says(error_of([&] {
                (void)open_model(dir_ / "out", {.adapters = {{.directory = adapter("demo")}}});
              }),
              ErrorCode::kInvalidArgument, {"out", "was converted"});
}

TEST_F(LoraTest, ThePackedCacheIsLeftAlone) {
  make_model("qwen2_head64_bf16");
  const PackedCache cache = cache_in(dir_ / "cache");
  (void)open_model(model_, {.packed_cache = cache});
  const auto kept = files_in(dir_ / "cache");
  ASSERT_EQ(kept.size(), 1u);
  const std::string before = contents(kept[0]);
  const Model merged =
      open_model(model_, {.packed_cache = cache, .adapters = {{.directory = adapter("text")}}});
  EXPECT_EQ(merged.weight_source, WeightSource::kPacked);
  EXPECT_EQ(contents(kept[0]), before);
  EXPECT_EQ(open_model(model_, {.packed_cache = cache}).weight_source, WeightSource::kCache);
}

TEST_F(LoraTest, ConfigsThatAreMoreThanASumAreRefused) {
  for (const char* key : {"use_dora", "fan_in_fan_out", "lora_bias"}) {
    expect_says(config_error([&](Json& json) { json[key] = true; }), ErrorCode::kUnsupported,
                {"adapter_config.json", key});
  }
  expect_says(config_error([](Json& json) { json["modules_to_save"] = {"lm_head"}; }),
              ErrorCode::kUnsupported, {"modules_to_save"});
  expect_says(config_error([](Json& json) { json["bias"] = "all"; }), ErrorCode::kUnsupported,
              {"bias", "all", "none"});
  expect_says(config_error([](Json& json) { json["peft_type"] = "IA3"; }), ErrorCode::kUnsupported,
              {"IA3", "LORA"});
  expect_says(config_error([](Json& json) { json["alpha_pattern"]["^layers"] = 2; }),
              ErrorCode::kUnsupported, {"alpha_pattern", "^layers"});
  expect_says(config_error([](Json& json) { json.erase("lora_alpha"); }), ErrorCode::kFormat,
              {"lora_alpha"});
  expect_says(config_error([](Json& json) { json["lora_alpha"] = "8"; }), ErrorCode::kFormat,
              {"lora_alpha"});
  expect_says(config_error([](Json& json) { json = Json::array(); }), ErrorCode::kFormat,
              {"adapter_config.json"});
}

TEST_F(LoraTest, TensorsThatDoNotFitAreRefused) {
  make_model("qwen2_head64_bf16");
  using Tensors = std::vector<StoredTensor>;
  // Sorted by name: layer 0's down_proj comes first.
  expect_says(tensor_error([](Tensors& t) { t[0].name = "x.lora_embedding_A"; }),
              ErrorCode::kUnsupported, {"x.lora_embedding_A", ".lora_A.weight"});
  expect_says(tensor_error([](Tensors& t) { t.erase(t.begin()); }), ErrorCode::kNotFound,
              {"layers.0.mlp.down_proj", "no lora_A.weight"});
  expect_says(tensor_error([](Tensors& t) {
                t[0].shape = {t[0].shape[1], t[0].shape[0]};
              }),
              ErrorCode::kFormat, {"layers.0.mlp.down_proj.lora_A.weight", "expected"});
  expect_says(tensor_error([](Tensors& t) { t[0].shape.push_back(1); }), ErrorCode::kFormat,
              {"layers.0.mlp.down_proj.lora_A.weight", "expected two sizes"});
  expect_says(tensor_error([](Tensors& t) { t.clear(); }), ErrorCode::kFormat, {"no tensors"});
  const auto rename = [](const std::string& module) {
    return [module](Tensors& t) {
      t[0].name = module + ".lora_A.weight";
      t[1].name = module + ".lora_B.weight";
    };
  };
  expect_says(tensor_error(rename("base_model.model.model.layers.99.mlp.down_proj")),
              ErrorCode::kFormat, {"layers.99.mlp.down_proj", "does not have"});
  expect_says(tensor_error(rename("base_model.model.model.embed_tokens")), ErrorCode::kUnsupported,
              {"embed_tokens", "only linear layers"});
  expect_says(tensor_error(rename("base_model.model.model.norm")), ErrorCode::kUnsupported,
              {"norm", "only linear layers"});
  expect_says(tensor_error(rename("model.language_model.layers.1.mlp.down_proj")),
              ErrorCode::kFormat, {"layers.1.mlp.down_proj", "the same weight"});
}

TEST_F(LoraTest, MissingFilesAreNamed) {
  const auto open = [&](double scale = 1.0) {
    return error_of([&] { (void)layers::LoraAdapter::open(dir_ / "adapter_text", scale); });
  };
  expect_says(open(), ErrorCode::kNotFound, {"adapter_config.json"});
  (void)adapter("text");
  expect_says(open(std::nan("")), ErrorCode::kInvalidArgument, {"adapter_text", "nan"});
  fs::rename(dir_ / "adapter_text/adapter_model.safetensors", dir_ / "kept");
  expect_says(open(), ErrorCode::kNotFound, {"adapter_model.safetensors"});
  put(dir_ / "adapter_text/adapter_model.bin", "pickle");
  expect_says(open(), ErrorCode::kUnsupported, {"adapter_model.bin", "safe_serialization"});
  put(dir_ / "adapter_text/adapter_model.safetensors", "");
  expect_says(open(), ErrorCode::kFormat, {"adapter_model.safetensors"});
}

TEST_F(LoraTest, ArgumentsAreADirectoryAndAScale) {
  EXPECT_EQ(Adapter::parse("dir").directory, "dir");
  EXPECT_EQ(Adapter::parse("dir").scale, 1.0);
  EXPECT_EQ(Adapter::parse("a:b/dir:-0.25").directory, "a:b/dir");
  EXPECT_EQ(Adapter::parse("dir:-0.25").scale, -0.25);
  const fs::path named = dir_ / "v:2";
  fs::create_directory(named);
  EXPECT_EQ(Adapter::parse(named).directory, named);
  EXPECT_EQ(Adapter::parse(named.string() + ":3").scale, 3.0);
  for (const char* bad : {"", ":2", "dir:", "dir:x", "dir:1x", "dir:nan", "dir:inf", "a:b"}) {
    expect_says(error_of([&] { (void)Adapter::parse(bad); }), ErrorCode::kInvalidArgument,
                {"--lora"});
  }
}

}  // namespace
}  // namespace reelm::pipeline
