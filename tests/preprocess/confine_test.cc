// What a decoder's process may still do, and what ends it.
#include "preprocess/sandbox/confine.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>

#include "preprocess/sandbox/watch.h"
#include "tests/preprocess/child_process.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::in_child;
using testing::read_file;
using testing::TemporaryFolder;

TEST(Confine, NothingButComputingIsLeft) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const TemporaryFolder folder;
  const auto file = folder.write("file", std::string("content"));
  const int fd = ::open(file.c_str(), O_RDWR);
  const pid_t parent = ::getpid();
  // The number of the first thing that was possible; 0: none was.
  const int possible = in_child([&] {
    confine_process(ends[1], std::int64_t{1} << 30);
    const auto refused = [](long result) { return result < 0 && errno == EPERM; };
    if (!refused(::open("/etc/passwd", O_RDONLY))) return 1;
    if (!refused(::open((folder.path() / "new").c_str(), O_CREAT | O_RDWR, 0600))) return 2;
    if (!refused(::socket(AF_INET, SOCK_STREAM, 0))) return 3;
    if (!refused(::fork())) return 4;
    char* const none[] = {nullptr};
    if (!refused(::execve("/bin/true", none, none))) return 5;
    if (!refused(::kill(parent, 0))) return 6;
    if (::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
        MAP_FAILED) {
      return 7;
    }
    if (!refused(::write(fd, "x", 1))) return 8;
    if (!refused(::pwrite(fd, "x", 1, 0))) return 9;
    if (!refused(::unlink(file.c_str()))) return 10;
    if (!refused(::mkdir((folder.path() / "folder").c_str(), 0700))) return 11;
    if (!refused(::ftruncate(fd, 0))) return 12;
    char byte;
    if (::pread(fd, &byte, 1, 0) != 1 || byte != 'c') return 20;  // what it is there for
    if (::send(ends[1], "x", 1, MSG_NOSIGNAL) != 1) return 21;
    try {
      std::thread([] {}).join();
    } catch (...) {
      return 22;
    }
    return 0;
  });
  EXPECT_EQ(possible, 0);
  EXPECT_EQ(read_file(file).size(), 7u);
  for (const int end : {ends[0], ends[1], fd}) ::close(end);
}

TEST(Watch, EndsAProcessThatIsStuckOrAlone) {
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  EXPECT_EQ(in_child([&] {
              Watch watch(ends[1]);
              watch.expect(0.1);
              ::sleep(60);
              return 0;
            }),
            kStalledExit);
  EXPECT_EQ(in_child([&] {
              ::shutdown(ends[0], SHUT_RDWR);
              Watch watch(ends[1]);
              ::sleep(60);
              return 1;
            }),
            0);
  for (const int end : ends) ::close(end);
}

}  // namespace
}  // namespace reelm::preprocess
