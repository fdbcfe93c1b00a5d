// Models in GGUF files: the same as in the Hugging Face layout, whose numbers are the reference's.
#include <gmock/gmock.h>

#include <map>

#include "layers/weight_reader.h"
#include "pipeline/convert.h"
#include "pipeline/model_info.h"
#include "pipeline/model_source.h"
#include "pipeline/verify.h"
#include "tests/pipeline/packed_testing.h"
#include "tests/support/gguf_model.h"
#include "tests/support/gguf_writer.h"

namespace reelm::pipeline {
namespace {

using test::GgufModelPaths;
using test::write_gguf_model;
using ::testing::AllOf;
using ::testing::HasSubstr;

Model open(const fs::path& path, const ModelDtypes& dtypes = {Dtype::kF32, Dtype::kF32}) {
  return open_model(path, {.dtypes = dtypes, .packed_cache = kNoCache});
}

std::string source_error(const fs::path& path, const fs::path& mmproj = {}) {
  const Error error = error_of([&] { (void)open_model_source(path, mmproj, {}); });
  return std::string(error_code_name(error.code())) + ": " + error.what();
}

std::vector<float> floats_of(const SafetensorsFile& file, const std::string& name) {
  const auto bytes = file.find(name)->bytes;
  std::vector<float> out(bytes.size() / sizeof(float));
  std::memcpy(out.data(), bytes.data(), bytes.size());
  return out;
}

std::vector<llm::TokenId> ids_of(const SafetensorsFile& file, const std::string& name) {
  const auto bytes = file.find(name)->bytes;
  std::vector<std::int64_t> ids(bytes.size() / sizeof(std::int64_t));
  std::memcpy(ids.data(), bytes.data(), bytes.size());
  return {ids.begin(), ids.end()};
}

/// Of a prompt of text.
std::vector<float> logits_behind(const Model& model, const std::vector<llm::TokenId>& ids) {
  llm::KvCache cache(model.decoder->kv_shape(), model.decoder->kv_type(), std::ssize(ids));
  const auto n = std::ssize(ids), vocabulary = model.decoder->vocab_size();
  std::vector<std::int64_t> positions(static_cast<std::size_t>(3 * n));
  for (std::size_t i = 0; i < positions.size(); ++i) {
    positions[i] = static_cast<std::int64_t>(i) % n;
  }
  std::vector<float> logits(static_cast<std::size_t>(vocabulary));
  model.decoder->prefill({ids, {positions.data(), {3, n}}, {}}, cache,
                         {logits.data(), {vocabulary}}, nullptr);
  return logits;
}

class GgufModelTest : public testing::ScratchDirTest {
 protected:
  /// A copy of a file of the test's model with one piece of text changed to another as long.
  fs::path patched(const fs::path& path, const std::string& from, const std::string& to) const {
    std::ifstream file(path, std::ios::binary);
    std::string bytes{std::istreambuf_iterator<char>(file), {}};
    const std::size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    bytes.replace(at, from.size(), to);
    write("patched.gguf", bytes);
    return dir_ / "patched.gguf";
  }
};

class GgufModels : public GgufModelTest, public ::testing::WithParamInterface<std::string> {};

TEST_P(GgufModels, HaveTheBitsOfTheOtherLayout) {
  const GgufModelPaths paths = write_gguf_model(dir_, GetParam());
  const auto expected = logits_of(open(paths.as_made));
  ASSERT_FALSE(expected.empty());
  EXPECT_EQ(logits_of(open(paths.model)), expected);
}

INSTANTIATE_TEST_SUITE_P(Random, GgufModels, ::testing::ValuesIn(test::gguf_model_names()),
                         [](const auto& instance) { return instance.param; });

TEST_F(GgufModelTest, VerifiesAgainstTheReference) {
  const std::pair<const char*, const char*> cases[] = {
      {"qwen2_head64_bf16", "random_qwen2_head64"},
      {"qwen2_head64_bf16", "random_qwen2_head64_system"},
      {"qwen2_head128_f16", "random_qwen2_head128"},
      {"flat_bf16", "random_flat_bf16"},
      {"flat_bf16", "random_flat_bf16_image"}};
  for (const auto& [model, golden] : cases) {
    SCOPED_TRACE(golden);
    VerifyOptions options;
    options.model = write_gguf_model(dir_ / golden, model).model;
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16}) {
      options.dtypes = {dtype, Dtype::kAuto};
      const auto report = verify_golden(
          fs::path(REELM_TEST_GOLDENS) / (std::string(golden) + ".safetensors"), options);
      EXPECT_GE(report.rows.size(), 5u);
      for (const VerifyRow& row : report.rows) EXPECT_TRUE(row.pass) << row.stage;
    }
  }
}

TEST_F(GgufModelTest, QuantisedIsAsIfStoredInFloats) {
  for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
    for (const char* name : {"qwen2_head64_bf16", "flat_bf16"}) {
      SCOPED_TRACE(std::string(name) + " " + dtype_name(type));
      const fs::path dir = dir_ / dtype_name(type) / name;
      const GgufModelPaths paths = write_gguf_model(dir, name, {.type = type});
      for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
        const ModelDtypes dtypes = {dtype, Dtype::kAuto};
        EXPECT_EQ(logits_of(open(paths.model, dtypes)), logits_of(open(paths.floats, dtypes)))
            << dtype_name(dtype);
      }
    }
  }
}

TEST_F(GgufModelTest, DtypeAutoSuitsTheTypeStored) {
  struct Case {
    const char* name;
    DType stored;
    Dtype decoder, vision;
  };
  const Case cases[] = {{"qwen2_head64_bf16", DType::kU8, Dtype::kBF16, Dtype::kBF16},
                        {"qwen2_head128_f16", DType::kU8, Dtype::kBF16, Dtype::kBF16},
                        {"odd_f32", DType::kU8, Dtype::kF32, Dtype::kF32},
                        {"flat_bf16", DType::kQ8_0, Dtype::kQ8_0, Dtype::kBF16},
                        {"flat_bf16", DType::kQ4_0, Dtype::kQ4_0, Dtype::kBF16}};
  for (const Case& c : cases) {
    const fs::path dir = dir_ / dtype_name(c.stored) / c.name;
    const ModelDtypes found =
        open(write_gguf_model(dir, c.name, {.type = c.stored}).model, {}).dtypes;
    EXPECT_EQ(found.decoder, c.decoder) << c.name << " " << dtype_name(c.stored);
    EXPECT_EQ(found.vision, c.vision) << c.name << " " << dtype_name(c.stored);
  }
}

/// |a - b| / |b|.
double relative_l2(const std::vector<float>& a, const std::vector<float>& b) {
  double error = 0.0, power = 0.0;
  EXPECT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    error += (static_cast<double>(a[i]) - b[i]) * (static_cast<double>(a[i]) - b[i]);
    power += static_cast<double>(b[i]) * b[i];
  }
  return std::sqrt(error / power);
}

// What is lost is the rounding of activations, by 32, and what attention in bf16 loses: nothing
// that depends on how coarse the weights are. (int4 makes 1e-1 of the second.)
TEST_F(GgufModelTest, BlocksAreKeptAsTheyAre) {
  for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
    for (const char* name : {"qwen2_head64_bf16", "flat_bf16"}) {
      SCOPED_TRACE(std::string(name) + " " + dtype_name(type));
      const fs::path dir = dir_ / dtype_name(type) / name;
      const GgufModelPaths paths = write_gguf_model(dir, name, {.type = type});
      const auto exact = logits_of(open(paths.model, {Dtype::kF32, Dtype::kF32}));
      const auto kept = logits_of(open(paths.model, {Dtype::kAuto, Dtype::kF32}));
      EXPECT_LT(relative_l2(kept, exact), 4e-2);
    }
  }
}

/// Names of packed weights and whether they were found packed.
std::map<std::string, bool> packed_names(const layers::WeightLog& log) {
  std::map<std::string, bool> out;
  for (const auto& packed : log.packed) out[packed.name] = packed.from_file;
  return out;
}

// Files mix types: a weight is kept when all its parts are stored alike, else it is int8.
TEST_F(GgufModelTest, MixedTypesAreKeptOneByOne) {
  const GgufModelPaths paths = write_gguf_model(dir_, "qwen2_head64_bf16",
                                                {.type = DType::kQ4_0,
                                                 .others = {{"embed_tokens", DType::kU8},
                                                            {"0.self_attn.v_proj", DType::kQ8_0},
                                                            {"1.mlp.down_proj", DType::kQ8_0},
                                                            {"1.self_attn.o_proj", DType::kU8}}});
  layers::WeightLog log;
  const OpenOptions options = {.packed_cache = cache_in(dir_ / "cache"), .log = &log};
  Model model = open_model(paths.model, options);
  EXPECT_EQ(model.dtypes.decoder, Dtype::kQ4_0);
  const auto expected = logits_of(std::move(model));
  const std::string layer0 = "model.layers.0.", layer1 = "model.layers.1.";
  const std::map<std::string, bool> names = {
      {layer0 + "self_attn.q_proj+k_proj+v_proj.int8", false},
      {layer0 + "self_attn.o_proj.q4_0", false},
      {layer0 + "mlp.gate_proj*up_proj.q4_0", false},
      {layer0 + "mlp.down_proj.q4_0", false},
      {layer1 + "self_attn.q_proj+k_proj+v_proj.q4_0", false},
      {layer1 + "self_attn.o_proj.int8", false},
      {layer1 + "mlp.gate_proj*up_proj.q4_0", false},
      {layer1 + "mlp.down_proj.q8_0", false},
      {"model.embed_tokens.int8", false}};
  EXPECT_EQ(packed_names(log), names);
  // From the cache, and converted: the same bits.
  Model cached = open_model(paths.model, options);
  EXPECT_EQ(cached.weight_source, WeightSource::kCache);
  for (const auto& [name, from_file] : packed_names(log)) EXPECT_TRUE(from_file) << name;
  EXPECT_EQ(logits_of(std::move(cached)), expected);
  (void)convert_model(paths.model, dir_ / "out", {});
  for (const Dtype dtype : {Dtype::kAuto, Dtype::kQ4_0}) {
    Model converted = open(dir_ / "out", {dtype, Dtype::kAuto});
    EXPECT_EQ(converted.dtypes.decoder, Dtype::kQ4_0);
    EXPECT_EQ(logits_of(std::move(converted)), expected);
  }
}

TEST_F(GgufModelTest, OtherModelsAreNotOfTheseTypes) {
  const GgufModelPaths paths = write_gguf_model(dir_, "qwen2_head64_bf16", {.type = DType::kQ8_0});
  const auto told = [&](const fs::path& path, const ModelDtypes& dtypes) {
    const Error error = error_of([&] { (void)open(path, dtypes); });
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return std::string(error.what());
  };
  EXPECT_THAT(told(paths.model, {Dtype::kQ4_0, Dtype::kAuto}),
              HasSubstr("dtype q4_0 is of GGUF files whose decoder is mostly stored so, expected "
                        "auto (here q8_0)"));
  EXPECT_THAT(told(paths.as_made, {Dtype::kQ8_0, Dtype::kAuto}), HasSubstr("auto (here bf16)"));
  EXPECT_THAT(told(paths.model, {Dtype::kAuto, Dtype::kQ8_0}), HasSubstr("vision dtype is q8_0"));
}

// Logits that transformers computes of the same file, which it dequantises (gguf_file=...).
TEST_F(GgufModelTest, QuantisedFilesAsTransformersReadsThem) {
  for (const char* name : {"qwen2_head64_bf16", "qwen2_head128_f16"}) {
    for (const DType type : {DType::kQ8_0, DType::kQ4_0}) {
      const std::string golden = std::string(name) + "-" + dtype_name(type) + ".safetensors";
      SCOPED_TRACE(golden + "\nto make it again: python tools/make_gguf_model_goldens.py");
      const auto file = SafetensorsFile::open(fs::path(REELM_TEST_GOLDENS) / "gguf" / golden);
      const std::vector<llm::TokenId> ids = ids_of(file, "input_ids");
      const std::vector<float> expected = floats_of(file, "logits");
      const GgufModelPaths paths = write_gguf_model(dir_ / golden, name, {.type = type});
      const auto logits_with = [&](Dtype dtype) {
        return logits_behind(open(paths.model, {dtype, Dtype::kAuto}), ids);
      };
      EXPECT_LT(relative_l2(logits_with(Dtype::kF32), expected), 1e-4);
      EXPECT_LT(relative_l2(logits_with(Dtype::kAuto), expected), 4e-2);
    }
  }
}

TEST_F(GgufModelTest, TheTokenizerIsTheSame) {
  const GgufModelPaths paths = write_gguf_model(dir_, "qwen2_head64_bf16");
  const Model a = open(paths.as_made), b = open(paths.model);
  for (const char* text : {"Hello world", " two  spaces\n\n", "<|im_start|>user", "na\xc3\xafve",
                           "e\xcc\x81", "12345", "\xf0\x9f\x98\x80", ""}) {
    EXPECT_EQ(a.tokenizer->encode(text), b.tokenizer->encode(text)) << text;
    EXPECT_EQ(a.tokenizer->encode_with_specials(text), b.tokenizer->encode_with_specials(text));
  }
  ASSERT_EQ(a.tokenizer->vocab_size(), b.tokenizer->vocab_size());
  for (llm::TokenId id = 0; id < a.tokenizer->vocab_size(); ++id) {
    EXPECT_EQ(a.tokenizer->token_bytes(id), b.tokenizer->token_bytes(id)) << id;
    EXPECT_EQ(a.tokenizer->is_special(id), b.tokenizer->is_special(id)) << id;
  }
  EXPECT_EQ(a.default_system, b.default_system);
  EXPECT_THAT(b.generation.eos_token_id,
              ::testing::UnorderedElementsAreArray(a.generation.eos_token_id));
}

TEST_F(GgufModelTest, TheOldNamesOfTheMlp) {
  const GgufModelPaths paths = write_gguf_model(dir_, "flat_bf16", {.swapped_mlp = true});
  EXPECT_EQ(logits_of(open(paths.model)), logits_of(open(paths.as_made)));
}

TEST_F(GgufModelTest, ConvertsToADirectoryThatAnswersTheSame) {
  for (const char* name : {"qwen2_head64_bf16", "flat_bf16"}) {
    const GgufModelPaths paths = write_gguf_model(dir_ / name, name);
    const ModelDtypes dtypes = {Dtype::kInt8, Dtype::kBF16};
    const auto expected = logits_of(open(paths.model, dtypes));
    const fs::path out = dir_ / name / "converted";
    const ConvertReport report = convert_model(paths.model, out, {.dtypes = dtypes});
    EXPECT_GT(report.bytes_before, 0);
    fs::remove(paths.model);
    EXPECT_EQ(logits_of(open_model(out)), expected) << name;
  }
}

TEST_F(GgufModelTest, ConvertsQuantisedEmbeddingsToBf16) {
  const GgufModelPaths paths = write_gguf_model(dir_, "qwen2_head64_bf16", {.type = DType::kQ8_0});
  (void)convert_model(paths.model, dir_ / "out", {.dtypes = {Dtype::kInt8, Dtype::kAuto}});
  const Checkpoint out = Checkpoint::open(dir_ / "out");
  const StoredTensor& found = out.get("model.embed_tokens.weight", {1024, 192});
  ASSERT_EQ(found.dtype, DType::kBF16);
  const Checkpoint floats = Checkpoint::open(paths.floats);
  const StoredTensor& expected = floats.get("model.embed_tokens.weight", {1024, 192});
  for (std::size_t i = 0; i < 1024 * 192; ++i) {
    float x = 0.0f;
    std::uint16_t bits = 0;
    std::memcpy(&x, expected.bytes.data() + 4 * i, sizeof x);
    std::memcpy(&bits, found.bytes.data() + 2 * i, sizeof bits);
    ASSERT_EQ(bits, to_bf16(x).bits) << i;
  }
}

TEST_F(GgufModelTest, ThePackedCacheIsForGgufToo) {
  const GgufModelPaths paths = write_gguf_model(dir_, "flat_bf16", {.type = DType::kQ4_0});
  const OpenOptions options = {.packed_cache = cache_in(dir_ / "cache")};
  const auto first = logits_of(open_model(paths.model, options));
  Model again = open_model(paths.model, options);
  EXPECT_EQ(again.weight_source, WeightSource::kCache);
  EXPECT_EQ(logits_of(std::move(again)), first);
}

TEST_F(GgufModelTest, InfoSaysWhatIsThere) {
  const GgufModelPaths paths = write_gguf_model(dir_, "flat_bf16", {.type = DType::kQ4_0});
  const ModelInfo made = describe_model(paths.as_made), info = describe_model(paths.model);
  EXPECT_EQ(info.model_type, "qwen2_vl");
  EXPECT_EQ(info.parameters, made.parameters);
  EXPECT_EQ(info.vision_parameters, made.vision_parameters);
  EXPECT_EQ(info.files, 2);
  EXPECT_EQ(info.tensors.size(), made.tensors.size());
  const auto has_type = [&](const char* type) {
    return std::any_of(info.stored_bytes.begin(), info.stored_bytes.end(),
                       [&](const auto& s) { return s.first == type; });
  };
  EXPECT_TRUE(has_type("Q4_0") && has_type("BF16") && has_type("F32"));
}

TEST_F(GgufModelTest, ADirectoryWithOneModelIsAsGoodAsItsFile) {
  const GgufModelPaths paths = write_gguf_model(dir_, "flat_bf16");
  EXPECT_EQ(open(dir_).directory, paths.model);
  fs::rename(paths.mmproj, dir_ / "tower.bin");
  EXPECT_THAT(source_error(paths.model), AllOf(HasSubstr("not found"), HasSubstr("--mmproj FILE")));
  EXPECT_EQ(
      open_model(paths.model, {.packed_cache = kNoCache, .mmproj = dir_ / "tower.bin"}).model_type,
      "qwen2_vl");
  fs::copy(dir_ / "tower.bin", dir_ / "a-mmproj.gguf");
  fs::copy(dir_ / "tower.bin", dir_ / "b-mmproj.gguf");
  EXPECT_THAT(source_error(paths.model),
              HasSubstr("several GGUF files (a-mmproj.gguf, b-mmproj.gguf): choose with --mmproj"));
  fs::copy(paths.model, dir_ / "other.gguf");
  EXPECT_THAT(source_error(dir_), HasSubstr("choose with --model FILE"));
}

TEST_F(GgufModelTest, RefusesWhatDoesNotFit) {
  const GgufModelPaths vl = write_gguf_model(dir_ / "vl", "flat_bf16");
  const GgufModelPaths text = write_gguf_model(dir_ / "text", "qwen2_head64_bf16");
  EXPECT_THAT(source_error(text.model, vl.mmproj), HasSubstr("'qwen2' takes text only"));
  EXPECT_THAT(source_error(text.as_made, vl.mmproj), HasSubstr("is no GGUF file"));
  EXPECT_THAT(source_error(vl.mmproj),
              AllOf(HasSubstr("general.architecture 'clip' is not supported"),
                    HasSubstr("qwen2, qwen2vl (a mmproj file goes with --mmproj)")));
  EXPECT_THAT(source_error(vl.model, text.model),
              HasSubstr("metadata 'general.architecture' is 'qwen2', expected 'clip'"));
  EXPECT_THAT(source_error(vl.model, patched(vl.mmproj, "qwen2vl_merger", "qwen3vl_merger")),
              HasSubstr("'clip.projector_type' is 'qwen3vl_merger', expected 'qwen2vl_merger'"));
  EXPECT_THAT(source_error(patched(text.model, "gpt2", "llam")),
              HasSubstr("'tokenizer.ggml.model' is 'llam', expected 'gpt2'"));
  EXPECT_THAT(source_error(patched(text.model, "tokenizer.ggml.pre", "tokenizer.ggml.prx")),
              HasSubstr("metadata 'tokenizer.ggml.pre' is missing"));
  EXPECT_THAT(source_error(patched(text.model, "qwen2.block_count", "qwen2.block_cxunt")),
              HasSubstr("metadata 'qwen2.block_count' is missing"));
  EXPECT_THAT(source_error(patched(text.model, "blk.0.attn_q.weight", "blk.0.attn_x.weight")),
              HasSubstr("tensor 'blk.0.attn_x.weight' is none that the family has"));
  EXPECT_THAT(
      source_error(vl.model, patched(vl.mmproj, "v.blk.1.attn_k.weight", "v.blk.7.attn_k.weight")),
      HasSubstr("no tensor 'v.blk.1.attn_k.weight'"));
}

TEST_F(GgufModelTest, MetadataThatContradictsTheTensorsIsAnError) {
  const GgufModelPaths paths = write_gguf_model(dir_, "qwen2_head64_bf16");
  const auto with_layers = [](std::uint32_t n) {
    return "qwen2.block_count" + test::GgufWriter::type(GgufType::kU32) + test::GgufWriter::raw(n);
  };
  const fs::path more = patched(paths.model, with_layers(2), with_layers(3));
  const Error error = error_of([&] { (void)open(more); });
  EXPECT_THAT(error.what(), AllOf(HasSubstr("patched.gguf"), HasSubstr("model.layers.2.")));
}

}  // namespace
}  // namespace reelm::pipeline
