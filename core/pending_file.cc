#include "core/pending_file.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include "core/throw.h"

namespace reelm {

namespace {

constexpr const char* kPart = ".part-";
// Between two looks at the cancel flag; a disk of 100 MB/s takes 0.2 s for it.
constexpr std::size_t kPiece = std::size_t{16} << 20;
// A file is made a moment before it is locked: younger ones are left alone.
constexpr std::time_t kYoungSeconds = 60;

/// Removes what killed processes left behind of `path`. Best effort.
void remove_leftovers(const std::filesystem::path& path) {
  const std::string prefix = path.filename().string() + kPart;
  std::error_code ec;
  std::filesystem::path folder = path.parent_path();
  if (folder.empty()) folder = ".";
  for (std::filesystem::directory_iterator it(folder, ec), end; !ec && it != end;
       it.increment(ec)) {
    if (!it->path().filename().string().starts_with(prefix)) continue;
    const int fd = ::open(it->path().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) continue;
    struct stat st {};
    const bool old = ::fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
                     std::time(nullptr) - st.st_mtime > kYoungSeconds;
    if (old && ::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(it->path().c_str());
    ::close(fd);
  }
}

}  // namespace

PendingFile::PendingFile(const std::filesystem::path& path, const CancelToken* cancel)
    : path_(path), cancel_(cancel) {
  static std::atomic<unsigned> counter{0};
  remove_leftovers(path);
  pending_ = path.string() + fmt::format("{}{}-{}", kPart, ::getpid(), counter++);
  leftover_.emplace(pending_);  // before it exists: a signal may come in between
  fd_ = ::open(pending_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  // A constructor that throws runs no destructor: then the file does not exist.
  if (fd_ < 0) fail("create");
  (void)::flock(fd_, LOCK_EX | LOCK_NB);  // where there are no locks nothing is removed either
}

PendingFile::~PendingFile() {
  if (fd_ >= 0) ::close(fd_);
  if (!pending_.empty()) ::unlink(pending_.c_str());
}

void PendingFile::write(const void* data, std::size_t size) {
  const char* p = static_cast<const char*>(data);
  while (size > 0) {
    if (cancel_ != nullptr) cancel_->check();
    const ssize_t n = ::write(fd_, p, std::min(size, kPiece));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("write");
    p += n;
    size -= static_cast<std::size_t>(n);
  }
}

void PendingFile::commit() {
  if (::fsync(fd_) != 0) fail("write");
  // Renamed while it is locked still: nobody takes it for a leftover.
  if (::rename(pending_.c_str(), path_.c_str()) != 0) fail("rename");
  pending_.clear();
  leftover_.reset();
  if (::close(std::exchange(fd_, -1)) != 0) fail("write");
}

void PendingFile::fail(const char* what) const {
  throw_error(ErrorCode::kIo, "{}: cannot {}: {}", path_.string(), what, std::strerror(errno));
}

}  // namespace reelm
