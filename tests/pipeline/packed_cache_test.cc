// The cache of packed weights: found, stale, damaged, hostile, nowhere to write.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "tests/pipeline/packed_testing.h"

namespace reelm::pipeline {
namespace {

class PackedCacheTest : public PackedTest {
 protected:
  void SetUp() override {
    PackedTest::SetUp();
    make_model();
    cache_ = dir_ / "cache";
  }
  Model open(const PackedCache& cache, ModelDtypes dtypes = {Dtype::kInt4, Dtype::kAuto}) {
    return open_model(model_, {.dtypes = dtypes, .packed_cache = cache});
  }
  Model open() { return open(cache_in(cache_)); }
  /// Opens and expects `source`, the logits of packing afresh, and so many warnings.
  void expect(WeightSource source, std::size_t warnings = 0) {
    Model model = open();
    EXPECT_EQ(weight_source_name(model.weight_source), std::string(weight_source_name(source)));
    EXPECT_EQ(model.warnings.size(), warnings) << (model.warnings.empty() ? "" : model.warnings[0]);
    EXPECT_EQ(logits_of(std::move(model)), logits_of(open(kNoCache)));
  }
  fs::path file() const {
    const auto files = files_in(cache_);
    EXPECT_EQ(files.size(), 1u);
    return files.at(0);
  }

  fs::path cache_;
};

TEST_F(PackedCacheTest, WhatIsFoundIsBitwiseWhatWasPacked) {
  for (const char* name : {"flat_bf16", "sharded_bf16", "odd_f32", "groups6_f16"}) {
    make_model(name);
    for (const Dtype dtype : {Dtype::kF32, Dtype::kBF16, Dtype::kInt8, Dtype::kInt4}) {
      SCOPED_TRACE(std::string(name) + " " + dtype_name(dtype));
      layers::WeightLog log;
      const OpenOptions options = {
          .dtypes = {dtype, dtype}, .packed_cache = cache_in(cache_), .log = &log};
      Model packed = open_model(model_, options);
      EXPECT_EQ(packed.weight_source, WeightSource::kPacked);
      const auto made = std::move(log.packed);
      Model found = open_model(model_, options);
      EXPECT_EQ(found.weight_source, WeightSource::kCache);
      ASSERT_EQ(log.packed.size(), made.size());
      for (std::size_t i = 0; i < made.size(); ++i) {
        EXPECT_FALSE(made[i].from_file);
        EXPECT_TRUE(log.packed[i].from_file) << made[i].name;
        const auto a = made[i].weight.packed_bytes(), b = log.packed[i].weight.packed_bytes();
        EXPECT_TRUE(std::equal(a.begin(), a.end(), b.begin(), b.end())) << made[i].name;
      }
      EXPECT_EQ(logits_of(std::move(found)), logits_of(std::move(packed)));
    }
    // One file for each pair of types, whatever weights the directory had before.
    EXPECT_EQ(files_in(cache_).size(), 4u);
  }
}

TEST_F(PackedCacheTest, AutoWritesNothingForASmallModel) {
  ::setenv("XDG_CACHE_HOME", dir_.c_str(), 1);
  ::unsetenv("REELM_PACKED_CACHE");
  EXPECT_EQ(open({}).weight_source, WeightSource::kPacked);
  ::setenv("REELM_PACKED_CACHE", "off", 1);
  EXPECT_EQ(open({}).weight_source, WeightSource::kPacked);
  EXPECT_FALSE(fs::exists(dir_ / "reelm"));
  ::setenv("REELM_PACKED_CACHE", cache_.c_str(), 1);
  EXPECT_EQ(open({}).weight_source, WeightSource::kPacked);
  EXPECT_EQ(open({}).weight_source, WeightSource::kCache);
  EXPECT_EQ(files_in(cache_).size(), 1u);
  ::unsetenv("REELM_PACKED_CACHE");
  ::unsetenv("XDG_CACHE_HOME");
}

TEST_F(PackedCacheTest, BesideTheModelItMovesWithIt) {
  EXPECT_EQ(open(cache_in(model_)).weight_source, WeightSource::kPacked);
  EXPECT_TRUE(fs::exists(model_ / "reelm-packed-int4-bf16.safetensors"));
  ::unsetenv("REELM_PACKED_CACHE");
  EXPECT_EQ(open({}).weight_source, WeightSource::kCache);
  const fs::path copy = dir_ / "copy";
  fs::copy(model_, copy);  // other inodes and times, the same content
  model_ = copy;
  EXPECT_EQ(open({}).weight_source, WeightSource::kCache);
}

TEST_F(PackedCacheTest, TheFingerprintIsWrittenOnceItCanBeTrusted) {
  (void)open();
  const auto fingerprint = [&] {
    return SafetensorsFile::open(file()).metadata().at("fingerprint");
  };
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
  expect(WeightSource::kCache);
  const std::string first = fingerprint();
  EXPECT_EQ(first.find('-'), std::string::npos) << first;
  expect(WeightSource::kCache);
  EXPECT_EQ(fingerprint(), first);
}

TEST_F(PackedCacheTest, OtherWeightsOfTheSameSizeAndTimeArePackedAgain) {
  (void)open();
  const fs::path weights = model_ / "model.safetensors";
  const auto time = fs::last_write_time(weights);
  std::string bytes = contents(weights);
  bytes[bytes.size() / 2] ^= 1;
  put(weights, bytes);
  fs::last_write_time(weights, time);
  expect(WeightSource::kPacked);
  expect(WeightSource::kCache);
  fs::last_write_time(weights, time + std::chrono::hours(1));
  expect(WeightSource::kCache);  // only touched
  (void)file();                  // replaced, not added
}

TEST_F(PackedCacheTest, AnotherConfigIsPackedAgain) {
  (void)open();
  put(model_ / "config.json", contents(model_ / "config.json") + "\n");
  expect(WeightSource::kPacked);
  expect(WeightSource::kCache);
}

TEST_F(PackedCacheTest, ADamagedFileIsPackedAgainWithAWarning) {
  (void)open();
  const std::string good = contents(file());
  const auto change = [&](std::size_t at) {
    std::string bad = good;
    bad[at] ^= 4;
    return bad;
  };
  const std::string random = [] {
    std::string out;
    for (int i = 0; i < 100'000; ++i) out += static_cast<char>(i * 7919 >> 5);
    return out;
  }();
  for (const std::string& bad :
       {change(good.size() / 2), change(good.size() - 1), change(3),
        good.substr(0, good.size() / 2), good.substr(0, good.size() - 1), std::string(), random,
        good + "x", std::string("\xff\xff\xff\xff\xff\xff\xff\x7f{}")}) {
    put(file(), bad);
    expect(WeightSource::kPacked, 1);
    EXPECT_EQ(contents(file()).size(), good.size());
    expect(WeightSource::kCache);
  }
}

TEST_F(PackedCacheTest, NoHeaderByteDoesHarm) {
  (void)open();
  const fs::path path = file();
  const std::string good = contents(path);
  const std::vector<float> expected = logits_of(open(kNoCache));
  for (std::size_t at = 0; at < 2000; at += 13) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ (1 << at % 7));
    put(path, bad);
    ASSERT_EQ(logits_of(open()), expected) << at;
  }
}

TEST_F(PackedCacheTest, FilesThatLieWithARightChecksumArePackedAgain) {
  (void)open();
  const std::string good = contents(file());
  using Tensors = std::vector<StoredTensor>;
  using Metadata = std::map<std::string, std::string>;
  static const std::vector<std::byte> spare(std::size_t{1} << 20);
  const std::vector<std::function<void(Tensors&, Metadata&)>> lies = {
      [](Tensors& t, Metadata&) { t.pop_back(); },
      [](Tensors& t, Metadata&) { t.clear(); },
      [](Tensors& t, Metadata&) {  // shorter
        t[0].bytes = t[0].bytes.first(64);
        t[0].shape = {64};
      },
      [](Tensors& t, Metadata&) {  // longer
        t[0].bytes = std::span(spare).first(t[0].bytes.size() + 64);
        t[0].shape = {std::ssize(t[0].bytes)};
      },
      [](Tensors& t, Metadata&) {  // all misaligned
        t.insert(t.begin(), {"a", DType::kU8, {3}, std::span(spare).first(3)});
      },
  };
  for (const auto& lie : lies) {
    rewrite_packed(file(), lie);
    expect(WeightSource::kPacked, 1);
    expect(WeightSource::kCache);
    EXPECT_EQ(contents(file()).size(), good.size());
  }
  // Another version or other types: no damage, so no warning.
  for (const char* key : {"layout_version", "dtype", "model_type", "format", "content"}) {
    rewrite_packed(file(), [&](Tensors&, Metadata& metadata) {
      metadata[key] = "another";
      metadata["fingerprint"] = "other";  // else the content is not looked at
    });
    expect(WeightSource::kPacked);
  }
}

TEST_F(PackedCacheTest, ADirectoryInItsPlaceIsAWarning) {
  (void)open();
  const fs::path path = file();
  fs::remove(path);
  fs::create_directory(path);
  expect(WeightSource::kPacked, 2);  // neither read nor written
  EXPECT_EQ(files_in(cache_).size(), 1u) << "something was left behind";
}

TEST_F(PackedCacheTest, NowhereToWriteIsAWarning) {
  cache_ = "/proc/no/such/place";
  expect(WeightSource::kPacked, 1);
  cache_ = model_ / "config.json";
  expect(WeightSource::kPacked, 1);
  cache_ = dir_ / "readonly";
  fs::create_directory(cache_);
  ::chmod(cache_.c_str(), 0555);
  if (::access(cache_.c_str(), W_OK) != 0) expect(WeightSource::kPacked, 1);  // root may write
  ::chmod(cache_.c_str(), 0755);
}

TEST_F(PackedCacheTest, AFullDiskIsAWarningAndLeavesNothing) {
  {
    const FileSizeLimit limit(10'000);
    expect(WeightSource::kPacked, 1);
  }
  EXPECT_TRUE(files_in(cache_).empty());
  (void)open();
  expect(WeightSource::kCache);
}

TEST_F(PackedCacheTest, CancellingIsSeenBeforeEachWeight) {
  const auto checkpoint = std::make_shared<const Checkpoint>(Checkpoint::open(model_));
  const auto& tensors = checkpoint->tensors();
  const auto vector = std::find_if(tensors.begin(), tensors.end(),
                                   [](const StoredTensor& t) { return t.shape.size() == 1; });
  CancelToken token;
  const layers::WeightReader reader(checkpoint, nullptr, nullptr, &token);
  const auto read = [&] { (void)reader.vector(vector->name, vector->shape[0]); };
  EXPECT_NO_THROW(read());
  token.cancel();
  EXPECT_EQ(error_of(read).code(), ErrorCode::kCancelled);
}

TEST_F(PackedCacheTest, CancellingLeavesNothing) {
  CancelToken token;
  token.cancel();
  const Error error = error_of(
      [&] { (void)open_model(model_, {.packed_cache = cache_in(cache_), .cancel = &token}); });
  EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  EXPECT_FALSE(fs::exists(cache_));
}

TEST_F(PackedCacheTest, TwoBuildersAtOnceBothEndRight) {
  const std::vector<float> expected = logits_of(open(kNoCache));
  for (int round = 0; round < 5; ++round) {
    fs::remove_all(cache_);
    std::vector<std::vector<float>> logits(4);
    std::vector<std::thread> builders;
    for (auto& out : logits) {
      builders.emplace_back([&] {
        Model model = open();
        EXPECT_TRUE(model.warnings.empty()) << model.warnings[0];
        out = logits_of(std::move(model));
      });
    }
    for (std::thread& builder : builders) builder.join();
    for (const auto& out : logits) EXPECT_EQ(out, expected);
    expect(WeightSource::kCache);
    (void)file();
  }
}

}  // namespace
}  // namespace reelm::pipeline
