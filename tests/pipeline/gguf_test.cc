// Models in GGUF files: the same as in the Hugging Face layout, whose numbers are the reference's.
#include <gmock/gmock.h>

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
                        {"flat_bf16", DType::kQ8_0, Dtype::kInt8, Dtype::kBF16},
                        {"flat_bf16", DType::kQ4_0, Dtype::kInt4, Dtype::kBF16}};
  for (const Case& c : cases) {
    const fs::path dir = dir_ / dtype_name(c.stored) / c.name;
    const ModelDtypes found =
        open(write_gguf_model(dir, c.name, {.type = c.stored}).model, {}).dtypes;
    EXPECT_EQ(found.decoder, c.decoder) << c.name << " " << dtype_name(c.stored);
    EXPECT_EQ(found.vision, c.vision) << c.name << " " << dtype_name(c.stored);
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
