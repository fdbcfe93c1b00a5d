#include "pipeline/tuning.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "core/error.h"
#include "pipeline/model.h"
#include "tests/support/fakes.h"

namespace reelm::pipeline {
namespace {

namespace fs = std::filesystem;
using kernels::TuneEntry;
using kernels::TuneKey;

class TuningTest : public ::testing::Test {
 protected:
  TuningTest() {
    std::string name = (fs::temp_directory_path() / "reelm-tuning-XXXXXX").string();
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    file_ = dir_ / "tuning.json";
  }
  ~TuningTest() override {
    std::error_code ec;
    fs::remove_all(dir_, ec);
  }

  static TuneKey key(std::int32_t rows) { return {.threads = 2, .sizes = {rows, 64, 2, 3, 128}}; }

  /// Stores a choice of candidate 1 over 0, as timed by a clock that says so.
  void store_one() {
    double now = 0.0;
    Tuning tuning(TuneMode::kOn, file_, {.now_ms = [&] { return now; }});
    const std::vector<kernels::Tuner::Candidate> candidates = {{0, true}, {1, true}, {7, false}};
    const TuneEntry* entry = tuning.tuner().measure(
        key(1024), candidates, 0, [&](int candidate) { now += candidate == 0 ? 2.0 : 1.5; });
    ASSERT_NE(entry, nullptr);
    tuning.warnings.clear();  // of a file that was damaged before
    tuning.store();
    EXPECT_TRUE(tuning.warnings.empty()) << tuning.warnings.front();
  }

  std::string text() const {
    std::ostringstream out;
    out << std::ifstream(file_).rdbuf();
    return out.str();
  }
  void write(const std::string& content) { std::ofstream(file_) << content; }

  /// The stored file with the first `from` as `to`.
  std::string with(const std::string& from, const std::string& to) const {
    std::string changed = text();
    const std::size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from << " in " << changed;
    return changed.replace(at, from.size(), to);
  }

  /// Opening warns in one line that names the file, and nothing is chosen.
  void expect_ignored(const std::string& why) {
    Tuning tuning(TuneMode::kAuto, file_);
    ASSERT_EQ(tuning.warnings.size(), 1u) << why;
    EXPECT_NE(tuning.warnings[0].find(file_.string()), std::string::npos) << tuning.warnings[0];
    EXPECT_EQ(tuning.warnings[0].find('\n'), std::string::npos) << tuning.warnings[0];
    EXPECT_TRUE(tuning.tuner().entries().empty()) << why;
  }

  /// Where nobody can write, not even root.
  fs::path no_place() {
    std::ofstream(dir_ / "is-a-file") << "x";
    return dir_ / "is-a-file" / "tuning.json";
  }

  static Model model_of(std::int64_t weight_bytes) {
    auto decoder = std::make_unique<testing::FakeDecoder>();
    decoder->weights = static_cast<std::size_t>(weight_bytes);
    Model out;
    out.decoder = std::move(decoder);
    return out;
  }

  fs::path dir_, file_;
};

TEST_F(TuningTest, WhatWasMeasuredIsReadBack) {
  store_one();
  Tuning again(TuneMode::kAuto, file_);
  EXPECT_TRUE(again.warnings.empty());
  EXPECT_EQ(kernels::active_tuner(), &again.tuner());
  const TuneEntry* entry = again.tuner().find(key(1024));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->choice, 1);
  EXPECT_EQ(entry->rule, 0);
  ASSERT_EQ(entry->timings.size(), 3u);
  EXPECT_EQ(entry->timings[1].candidate, 1);
  EXPECT_DOUBLE_EQ(entry->timings[1].ms, 1.5);
  EXPECT_FALSE(entry->timings[2].eligible);
  EXPECT_EQ(again.tuner().find(key(512)), nullptr);
  // It measures nothing.
  const std::vector<kernels::Tuner::Candidate> candidates = {{0, true}};
  EXPECT_EQ(again.tuner().measure(key(512), candidates, 0, [](int) { FAIL(); }), nullptr);
}

TEST_F(TuningTest, TheTunerIsAskedOnlyWhileItLivesAndMayKnowSomething) {
  EXPECT_EQ(kernels::active_tuner(), nullptr);
  {
    const Tuning nowhere(TuneMode::kAuto, no_place());
    EXPECT_EQ(kernels::active_tuner(), nullptr);
  }
  store_one();
  {
    const Tuning off(TuneMode::kOff, file_);
    EXPECT_EQ(kernels::active_tuner(), nullptr);
    const Tuning on(TuneMode::kOn, file_);
    EXPECT_NE(kernels::active_tuner(), nullptr);
  }
  EXPECT_EQ(kernels::active_tuner(), nullptr);
}

TEST_F(TuningTest, MeasuresUnaskedForModelsOfSomeSizeOnly) {
  Model small = model_of(kKeptUnaskedBytes - 1), large = model_of(kKeptUnaskedBytes);
  Tuning tuning(TuneMode::kAuto, dir_ / "made" / "on" / "demand.json");
  EXPECT_FALSE(tuning.tuner().may_measure());
  tune_for(small);
  EXPECT_FALSE(tuning.tuner().may_measure());
  tune_for(large);
  EXPECT_TRUE(tuning.tuner().may_measure());
}

TEST_F(TuningTest, MeasuresNothingUnaskedThatCouldNotBeKept) {
  Model large = model_of(kKeptUnaskedBytes);
  {
    Tuning off(TuneMode::kOff, file_);
    tune_for(large);
    EXPECT_FALSE(off.tuner().may_measure());
  }
  Tuning nowhere(TuneMode::kAuto, no_place());
  tune_for(large);
  EXPECT_FALSE(nowhere.tuner().may_measure());
}

TEST_F(TuningTest, NothingNewIsNothingWritten) {
  {
    Tuning tuning(TuneMode::kOn, file_);
    tuning.store();
  }
  EXPECT_FALSE(fs::exists(file_));
  store_one();
  const std::string before = text();
  fs::permissions(file_, fs::perms::owner_read);
  Tuning tuning(TuneMode::kOn, file_);
  tuning.store();
  EXPECT_EQ(text(), before);
}

TEST_F(TuningTest, DamageIsIgnoredWithAWarningAndMadeAgain) {
  store_one();
  const std::string good = text();
  const std::vector<std::string> bad = {
      "",
      "{",
      "[]",
      "null",
      "{}",
      good.substr(0, good.size() / 2),
      good + "x",
      std::string(100, '['),
      with("\"format\": 1", "\"format\": 2"),
      with("\"format\": 1", "\"format\": \"1\""),
      with("\"cores\": ", "\"cores\": 9"),
      with("\"cpu\": \"", "\"cpu\": \"other "),
      with("\"reelm\": \"", "\"reelm\": \"9."),
      with("\"attention\"", "\"divination\""),
      with("\"choice\": \"flash-192x64-affine\"", "\"choice\": \"flash-7x7\""),
      with("\"choice\": \"flash-192x64-affine\"", "\"choice\": 1"),
      with("\"rule\": \"flash-192x64\"", "\"rule\": \"few\""),
      with("\"isa\": \"", "\"isa\": \"x"),
      with("\"threads\": 2", "\"threads\": -2"),
      with("\"threads\": 2", "\"threads\": 99999999999999999999"),
      with("\"threads\": 2", "\"threads\": 2, \"threads\": 3"),
      with("1024", "10.24"),
      with("1024,", ""),
      with("\"sizes\": [", "\"sizes\": [1, "),
      with("\"ms\": 1.5", "\"ms\": -1.5"),
      with("\"ms\": 1.5", "\"ms\": 1e300"),
      with("\"ms\": 1.5", "\"ms\": null"),
      with("\"timings\": [", "\"timings\": {}, \"more\": ["),
      with("\"choices\": [", "\"choices\": 3, \"more\": ["),
      std::string(2 << 20, ' ')};
  for (const std::string& content : bad) {
    write(content);
    expect_ignored(content.substr(0, 2000));
    if (HasFatalFailure()) return;
  }
  store_one();  // over the last of them, with --tune on
  EXPECT_EQ(Tuning(TuneMode::kAuto, file_).tuner().entries().size(), 1u);
}

TEST_F(TuningTest, MoreChoicesThanThereCanBeAreRefused) {
  store_one();
  const std::string good = text();
  const std::size_t begin = good.find('{', good.find("\"choices\""));
  const std::size_t end = good.find("],\n \"format\"");
  ASSERT_NE(end, std::string::npos) << good;
  std::string entry = good.substr(begin, end - begin);
  entry = entry.substr(0, entry.find("\"timings\"")) + "\"timings\": []}";
  std::string all = entry;
  for (std::size_t i = 0; i < kernels::Tuner::kMostEntries; ++i) all += "," + entry;
  write(good.substr(0, begin) + all + good.substr(end));
  expect_ignored("many");
}

TEST_F(TuningTest, WhatIsNoFileIsIgnored) {
  fs::create_directory(file_);
  expect_ignored("a directory");
  fs::remove(file_);
  ASSERT_EQ(::mkfifo(file_.c_str(), 0600), 0);
  expect_ignored("a pipe");
}

TEST_F(TuningTest, NowhereToWriteIsAWarning) {
  Tuning tuning(TuneMode::kOn, no_place());
  tuning.tuner().add({{.key = key(1), .choice = 0, .rule = 0, .timings = {}}});
  tuning.store();
  ASSERT_EQ(tuning.warnings.size(), 1u);
  EXPECT_NE(tuning.warnings[0].find("is-a-file"), std::string::npos) << tuning.warnings[0];
}

TEST_F(TuningTest, TheDefaultFileIsInTheUsersCache) {
  const char* before = std::getenv("XDG_CACHE_HOME");
  const std::string kept = before == nullptr ? "" : before;
  ::setenv("XDG_CACHE_HOME", dir_.c_str(), 1);
  EXPECT_EQ(Tuning::default_file().parent_path(), dir_ / "reelm");
  EXPECT_TRUE(Tuning::default_file().filename().string().starts_with("reelm-tuning-"));
  before == nullptr ? ::unsetenv("XDG_CACHE_HOME") : ::setenv("XDG_CACHE_HOME", kept.c_str(), 1);
}

TEST(TuneMode, ParsesItsNames) {
  EXPECT_EQ(parse_tune_mode("auto"), TuneMode::kAuto);
  EXPECT_EQ(parse_tune_mode("on"), TuneMode::kOn);
  EXPECT_EQ(parse_tune_mode("off"), TuneMode::kOff);
  EXPECT_THROW(parse_tune_mode("maybe"), Error);
}

}  // namespace
}  // namespace reelm::pipeline
