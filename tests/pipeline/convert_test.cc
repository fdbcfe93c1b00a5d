// reelm convert: what it writes opens to the same model, and nothing else does harm.
#include "pipeline/convert.h"

#include "pipeline/model_info.h"
#include "tests/pipeline/packed_testing.h"

namespace reelm::pipeline {
namespace {

class ConvertTest : public PackedTest {
 protected:
  void SetUp() override {
    PackedTest::SetUp();
    out_ = dir_ / "out";
  }
  ConvertReport convert(ModelDtypes dtypes = {Dtype::kInt4, Dtype::kAuto}, bool force = false) {
    return convert_model(model_, out_, {.dtypes = dtypes, .force = force});
  }
  Error open_error(ModelDtypes dtypes = {}) {
    return error_of([&] { (void)open_model(out_, {.dtypes = dtypes}); });
  }
  Error convert_error(bool force = false) {
    return error_of([&] { (void)convert({Dtype::kInt4, Dtype::kAuto}, force); });
  }

  fs::path out_;
};

TEST_F(ConvertTest, OpensToTheSameModelWithoutItsSource) {
  for (const char* name : {"flat_bf16", "sharded_bf16", "odd_f32", "groups6_f16"}) {
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
      SCOPED_TRACE(std::string(name) + " " + dtype_name(dtype));
      make_model(name);
      const ModelDtypes dtypes = {dtype, dtype == Dtype::kInt8 ? Dtype::kInt8 : Dtype::kAuto};
      const auto expected =
          logits_of(open_model(model_, {.dtypes = dtypes, .packed_cache = kNoCache}));
      fs::remove_all(out_);
      const ConvertReport report = convert(dtypes);
      fs::remove_all(model_);
      EXPECT_EQ(report.dtypes.decoder, dtype);
      EXPECT_GT(report.bytes_before, 0);
      EXPECT_EQ(report.bytes_after,
                static_cast<std::int64_t>(fs::file_size(out_ / "model.safetensors")));
      Model model = open_model(out_);
      EXPECT_EQ(model.weight_source, WeightSource::kConverted);
      EXPECT_EQ(model.dtypes.decoder, report.dtypes.decoder);
      EXPECT_EQ(model.dtypes.vision, report.dtypes.vision);
      EXPECT_EQ(logits_of(std::move(model)), expected);
      EXPECT_EQ(logits_of(open_model(out_, {.dtypes = dtypes})), expected);
    }
  }
}

TEST_F(ConvertTest, TheDemoToo) {
  model_ = REELM_DEMO_MODEL;
  const auto expected = logits_of(
      open_model(model_, {.dtypes = {Dtype::kInt4, Dtype::kAuto}, .packed_cache = kNoCache}));
  (void)convert();
  EXPECT_EQ(logits_of(open_model(out_)), expected);
}

TEST_F(ConvertTest, SaysWhatItIs) {
  make_model("sharded_bf16");
  const ModelInfo before = describe_model(model_);
  (void)convert();
  const ModelInfo after = describe_model(out_);
  ASSERT_TRUE(after.converted);
  EXPECT_FALSE(before.converted);
  EXPECT_EQ(after.converted->dtype, "int4");
  EXPECT_EQ(after.converted->vision_dtype, "bf16");
  EXPECT_EQ(after.parameters, before.parameters);
  EXPECT_EQ(after.vision_parameters, before.vision_parameters);
}

TEST_F(ConvertTest, OtherTypesThanItsOwnAreRefused) {
  make_model();
  (void)convert();
  for (const ModelDtypes dtypes :
       {ModelDtypes{Dtype::kInt8, Dtype::kAuto}, ModelDtypes{Dtype::kAuto, Dtype::kF32}}) {
    const Error error = open_error(dtypes);
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    EXPECT_NE(std::string(error.what()).find("was converted to"), std::string::npos);
  }
  model_ = out_;
  out_ = dir_ / "again";
  const Error error = convert_error();
  EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
  EXPECT_NE(std::string(error.what()).find("was converted before"), std::string::npos);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(ConvertTest, TheOutputIsNeverTheInputNorInUse) {
  make_model();
  const std::string before = contents(model_ / "model.safetensors");
  fs::create_directory_symlink(model_, dir_ / "link");
  for (const fs::path& out : {model_, model_ / "int4", dir_ / "link", dir_ / "link/x",
                              dir_ / "model/../model", dir_ / "none/out"}) {
    out_ = out;
    (void)convert_error(true);
  }
  EXPECT_EQ(contents(model_ / "model.safetensors"), before);
  out_ = dir_ / "file";
  put(out_, "x");
  EXPECT_EQ(convert_error(true).code(), ErrorCode::kInvalidArgument);
  out_ = dir_ / "full";
  fs::create_directory(out_);
  put(out_ / "mine", "x");
  EXPECT_EQ(convert_error().code(), ErrorCode::kInvalidArgument);
  EXPECT_EQ(files_in(out_).size(), 1u);
}

TEST_F(ConvertTest, ForceReplacesTheModelThatIsThere) {
  make_model("odd_f32");
  (void)convert();
  EXPECT_TRUE(fs::exists(out_ / "tokenizer.json") != fs::exists(out_ / "vocab.json"));
  put(out_ / "mine", "x");
  make_model("flat_bf16");
  const std::vector<float> expected = logits_of(
      open_model(model_, {.dtypes = {Dtype::kInt8, Dtype::kAuto}, .packed_cache = kNoCache}));
  (void)convert({Dtype::kInt8, Dtype::kAuto}, true);
  EXPECT_TRUE(fs::exists(out_ / "mine"));
  EXPECT_FALSE(fs::exists(out_ / "tokenizer.json")) << "of the model before";
  EXPECT_EQ(logits_of(open_model(out_)), expected);
}

TEST_F(ConvertTest, AFullDiskLeavesNothing) {
  make_model();
  {
    const FileSizeLimit limit(100'000);
    EXPECT_EQ(convert_error().code(), ErrorCode::kIo);
  }
  EXPECT_FALSE(fs::exists(out_));
  (void)convert();
  const auto expected = logits_of(open_model(out_));
  {
    const FileSizeLimit limit(100'000);
    EXPECT_EQ(convert_error(true).code(), ErrorCode::kIo);
  }
  EXPECT_EQ(logits_of(open_model(out_)), expected) << "what was there stays";
  for (const fs::path& file : files_in(out_)) {
    EXPECT_EQ(file.string().find(".part-"), std::string::npos) << file;
  }
}

TEST_F(ConvertTest, CancellingLeavesNothing) {
  make_model();
  CancelToken token;
  const Error error = error_of([&] {
    (void)convert_model(
        model_, out_,
        {.cancel = &token, .on_progress = [&](const char*, std::int64_t done, std::int64_t) {
           if (done > 0) token.cancel();
         }});
  });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(out_));
}

TEST_F(ConvertTest, WeightsThatCannotBeUsedAreErrors) {
  make_model();
  (void)convert();
  const fs::path weights = out_ / "model.safetensors";
  const std::string good = contents(weights);
  using Tensors = std::vector<StoredTensor>;
  using Metadata = std::map<std::string, std::string>;
  const auto change = [&](const char* key, const char* value) {
    put(weights, good);
    rewrite_packed(weights, [&](Tensors&, Metadata& metadata) { metadata[key] = value; });
    return open_error();
  };
  const Error version = change("layout_version", "999");
  EXPECT_EQ(version.code(), ErrorCode::kUnsupported);
  EXPECT_NE(std::string(version.what()).find("convert the original model again"),
            std::string::npos);
  EXPECT_EQ(change("dtype", "int3").code(), ErrorCode::kFormat);
  EXPECT_EQ(change("vision_dtype", "auto").code(), ErrorCode::kFormat);
  (void)change("dtype", "int8");  // packed as another type: other names, so missing ones

  std::string bad = good;
  bad[good.size() / 2] ^= 1;
  put(weights, bad);
  const Error damaged = open_error();
  EXPECT_EQ(damaged.code(), ErrorCode::kFormat);
  EXPECT_NE(std::string(damaged.what()).find("checksum"), std::string::npos);

  const std::vector<std::function<void(Tensors&, Metadata&)>> lies = {
      [](Tensors& t, Metadata&) { t.erase(t.begin() + 1); },  // the first, the head, can be made
      [](Tensors& t, Metadata&) { t.pop_back(); },
      [](Tensors& t, Metadata&) { t.clear(); },
      [](Tensors& t, Metadata&) {
        t[0].bytes = t[0].bytes.first(64);
        t[0].shape = {64};
      },
      [](Tensors& t, Metadata&) {  // every packed one misaligned
        t.insert(t.begin(), {"a", DType::kU8, {3}, t[0].bytes.first(3)});
      },
      [](Tensors& t, Metadata&) {  // norms as bytes
        for (StoredTensor& tensor : t) {
          tensor.dtype = DType::kU8;
          tensor.shape = {std::ssize(tensor.bytes)};
        }
      },
  };
  for (const auto& lie : lies) {
    put(weights, good);
    rewrite_packed(weights, lie);
    (void)open_error();
  }
}

}  // namespace
}  // namespace reelm::pipeline
