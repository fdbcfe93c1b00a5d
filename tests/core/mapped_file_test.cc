#include "core/mapped_file.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include "core/error.h"
#include "tests/support/scratch_dir.h"

namespace reelm {
namespace {

namespace fs = std::filesystem;

class MappedFileTest : public testing::ScratchDirTest {
 protected:
  const std::size_t page_ = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  std::string text_ = std::string(4 * page_ + 5, 'x');
};

/// 'x', or what is read where the page is gone.
char at(const MappedFile& file, std::size_t i) {
  return std::to_integer<char>(static_cast<const volatile std::byte*>(file.bytes().data())[i]);
}

TEST_F(MappedFileTest, LostPagesAreZerosAndAreTold) {
  guard_mapped_files();
  guard_mapped_files();  // once is enough
  write("a", text_);
  write("b", text_);
  MappedFile lost(dir_ / "a");
  const MappedFile other(dir_ / "b");
  EXPECT_EQ(at(lost, text_.size() - 1), 'x');
  EXPECT_NO_THROW(lost.check_intact());
  fs::resize_file(dir_ / "a", page_);
  EXPECT_NO_THROW(lost.check_intact()) << "nothing of it was read yet";
  EXPECT_EQ(at(lost, 0), 'x');
  EXPECT_EQ(at(lost, 2 * page_), 0);
  EXPECT_EQ(at(lost, text_.size() - 1), 0);
  EXPECT_EQ(at(lost, page_), 0);
  EXPECT_EQ(at(lost, 0), 'x') << "what is left stays";
  const MappedFile moved = std::move(lost);
  try {
    moved.check_intact();
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kIo);
    EXPECT_NE(std::string(error.what()).find("/a: became shorter"), std::string::npos);
  }
  EXPECT_NO_THROW(other.check_intact());
  fs::resize_file(dir_ / "a", 0);
  const MappedFile empty(dir_ / "a");
  EXPECT_NO_THROW(empty.check_intact());
}

TEST_F(MappedFileTest, APlaceUsedAgainIsIntact) {
  guard_mapped_files();
  for (int i = 0; i < 3; ++i) {
    write("a", text_);
    const MappedFile file(dir_ / "a");
    EXPECT_NO_THROW(file.check_intact());
    fs::resize_file(dir_ / "a", 0);
    EXPECT_EQ(at(file, 0), 0);
    EXPECT_THROW(file.check_intact(), Error);
  }
}

TEST(MappedFileDeathTest, OtherBusErrorsAreFatalAsBefore) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        ::signal(SIGBUS, SIG_DFL);
        guard_mapped_files();
        ::raise(SIGBUS);
        ::raise(SIGBUS);
      },
      ::testing::KilledBySignal(SIGBUS), "");
}

}  // namespace
}  // namespace reelm
