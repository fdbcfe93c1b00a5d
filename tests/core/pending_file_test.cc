#include "core/pending_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <vector>

#include "core/error.h"
#include "core/safetensors.h"
#include "tests/support/scratch_dir.h"

namespace reelm {
namespace {

namespace fs = std::filesystem;

class PendingFileTest : public testing::ScratchDirTest {
 protected:
  std::size_t files() const {
    return static_cast<std::size_t>(
        std::distance(fs::directory_iterator(dir_), fs::directory_iterator()));
  }
};

TEST_F(PendingFileTest, IsGoneUnlessCommitted) {
  {
    PendingFile file(dir_ / "a");
    file.write("abc", 3);
    EXPECT_EQ(files(), 1u);
  }
  EXPECT_EQ(files(), 0u);
  PendingFile file(dir_ / "a");
  file.write("abc", 3);
  EXPECT_FALSE(fs::exists(dir_ / "a"));
  file.commit();
  EXPECT_EQ(fs::file_size(dir_ / "a"), 3u);
  EXPECT_EQ(files(), 1u);
}

TEST_F(PendingFileTest, CancellingEndsAWrite) {
  CancelToken token;
  token.cancel();
  PendingFile file(dir_ / "a", &token);
  try {
    file.write("abc", 3);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kCancelled);
  }
}

TEST_F(PendingFileTest, RemovesWhatKilledProcessesLeft) {
  const auto old = fs::file_time_type::clock::now() - std::chrono::hours(1);
  for (const char* name : {"a.part-1-0", "a.part-2-0", "b.part-1-0", "a.part-3-0"})
    write(name, "x");
  for (const char* name : {"a.part-1-0", "a.part-2-0", "b.part-1-0"}) {
    fs::last_write_time(dir_ / name, old);
  }
  const int busy = ::open((dir_ / "a.part-2-0").c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::flock(busy, LOCK_EX), 0);
  PendingFile(dir_ / "a").commit();
  EXPECT_FALSE(fs::exists(dir_ / "a.part-1-0"));
  EXPECT_TRUE(fs::exists(dir_ / "a.part-2-0")) << "another process writes it";
  EXPECT_TRUE(fs::exists(dir_ / "a.part-3-0")) << "made a moment ago";
  EXPECT_TRUE(fs::exists(dir_ / "b.part-1-0")) << "of another file";
  ::close(busy);
}

// As a program does that is told to end at once.
TEST_F(PendingFileTest, LeftoversOfAProcessThatEndsAreRemoved) {
  const PendingFile part(dir_ / "a");
  fs::create_directory(dir_ / "made");
  const Leftover made(dir_ / "made");
  write("b", "x");
  Leftover complete(dir_ / "b");
  complete.forget();
  PendingFile committed(dir_ / "c");
  committed.commit();
  std::vector<std::unique_ptr<Leftover>> many;  // more than are noted: no harm
  for (int i = 0; i < 100; ++i) many.push_back(std::make_unique<Leftover>(dir_ / "none"));
  Leftover::remove_all();
  EXPECT_EQ(files(), 2u);
  EXPECT_TRUE(fs::exists(dir_ / "b"));
  EXPECT_TRUE(fs::exists(dir_ / "c"));
}

TEST_F(PendingFileTest, AlignedSafetensorsInTheOrderGiven) {
  const std::vector<std::byte> bytes(64, std::byte{7});
  const std::vector<StoredTensor> tensors = {{"z", DType::kU8, {64}, bytes},
                                             {"a", DType::kF32, {16}, bytes}};
  std::int64_t last = 0;
  for (const char* value : {"", "x", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"}) {
    write_safetensors(dir_ / "t", tensors, {{"key", value}},
                      {.alignment = 64,
                       .keep_order = true,
                       .on_progress = [&](std::int64_t done, std::int64_t) { last = done; }});
    const SafetensorsFile file = SafetensorsFile::open(dir_ / "t");
    const auto* z = file.find("z");
    ASSERT_NE(z, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(z->bytes.data()) % 64, 0u);
    EXPECT_EQ(file.find("a")->bytes.data(), z->bytes.data() + 64);
    EXPECT_EQ(file.metadata().at("key"), value);
    EXPECT_EQ(last, 128);
  }
}

}  // namespace
}  // namespace reelm
