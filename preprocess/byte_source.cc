#include "preprocess/byte_source.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "core/throw.h"
#include "preprocess/descriptor.h"

namespace reelm::preprocess {
namespace {

constexpr int kPollMilliseconds = 50;

class FileBytes final : public ByteSource {
 public:
  FileBytes(Descriptor owned, int fd, std::int64_t begin, std::int64_t size, std::string name)
      : owned_(std::move(owned)), fd_(fd), begin_(begin), size_(size), name_(std::move(name)) {}

  std::size_t read(std::int64_t offset, void* to, std::size_t n) override {
    std::size_t done = 0;
    while (done < n) {
      const ssize_t got = ::pread(fd_, static_cast<char*>(to) + done, n - done,
                                  begin_ + offset + static_cast<std::int64_t>(done));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw_error(ErrorCode::kIo, "{}: reading: {}", name_, std::strerror(errno));
      if (got == 0) break;  // the end, or the file became shorter
      done += static_cast<std::size_t>(got);
    }
    return done;
  }
  std::int64_t size() const noexcept override { return size_; }
  std::optional<DescriptorRange> descriptor() const noexcept override {
    return DescriptorRange{fd_, begin_};
  }

 private:
  Descriptor owned_;  // empty when somebody else closes fd_
  int fd_;
  std::int64_t begin_;
  std::int64_t size_;
  std::string name_;
};

class MemoryBytes final : public ByteSource {
 public:
  explicit MemoryBytes(MediaSource source) : source_(std::move(source)) {}

  std::size_t read(std::int64_t offset, void* to, std::size_t n) override {
    if (offset < 0 || offset >= size()) return 0;
    const std::size_t count = std::min(n, static_cast<std::size_t>(size() - offset));
    std::memcpy(to, source_.bytes().data() + offset, count);
    return count;
  }
  std::int64_t size() const noexcept override {
    return static_cast<std::int64_t>(source_.bytes().size());
  }

 private:
  MediaSource source_;  // keeps the bytes alive
};

/// A file without a name, gone when it is closed.
Descriptor make_unlinked_file() {
  std::error_code failed;
  std::filesystem::path folder = std::filesystem::temp_directory_path(failed);
  if (failed) folder = "/tmp";
  Descriptor file(::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file.get() >= 0) return file;
  std::string name = (folder / "reelm-XXXXXX").string();  // file systems without O_TMPFILE
  file = Descriptor(::mkostemp(name.data(), O_CLOEXEC));
  if (file.get() < 0) {
    throw_error(ErrorCode::kIo, "{}: no temporary file for the input: {}", folder.string(),
                std::strerror(errno));
  }
  ::unlink(name.c_str());
  return file;
}

/// Waits until `fd` has bytes or ended.
void wait_readable(int fd, const std::string& name, const CancelToken* cancel) {
  for (;;) {
    if (cancel != nullptr) cancel->check();
    pollfd request{fd, POLLIN, 0};
    const int ready = ::poll(&request, 1, kPollMilliseconds);
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) {
      throw_error(ErrorCode::kIo, "{}: waiting for input: {}", name, std::strerror(errno));
    }
  }
}

void write_all(int fd, const char* from, std::size_t n, const std::string& name) {
  while (n > 0) {
    const ssize_t put = ::write(fd, from, n);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) {
      throw_error(ErrorCode::kIo, "{}: writing the temporary copy: {}", name, std::strerror(errno));
    }
    from += put;
    n -= static_cast<std::size_t>(put);
  }
}

std::unique_ptr<ByteSource> spool(int fd, const std::string& name, const Limits& limits,
                                  const CancelToken* cancel) {
  Descriptor copy = make_unlinked_file();
  std::vector<char> buffer(std::size_t{1} << 20);
  std::int64_t total = 0;
  for (;;) {
    wait_readable(fd, name, cancel);
    const ssize_t got = ::read(fd, buffer.data(), buffer.size());
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got < 0) throw_error(ErrorCode::kIo, "{}: reading: {}", name, std::strerror(errno));
    if (got == 0) break;
    total += got;
    if (total > limits.media_bytes) {
      throw_error(ErrorCode::kLimit, "{}: more than {} bytes, the limit media-bytes", name,
                  limits.media_bytes);
    }
    write_all(copy.get(), buffer.data(), static_cast<std::size_t>(got), name);
  }
  const int copy_fd = copy.get();
  return std::make_unique<FileBytes>(std::move(copy), copy_fd, 0, total, name);
}

std::unique_ptr<ByteSource> open_descriptor(Descriptor owned, int fd, const std::string& name,
                                            const Limits& limits, const CancelToken* cancel) {
  struct stat status {};
  if (::fstat(fd, &status) != 0) {
    throw_error(ErrorCode::kIo, "{}: {}", name, std::strerror(errno));
  }
  if (S_ISDIR(status.st_mode)) {
    throw_error(ErrorCode::kIo, "{}: is a directory, expected a video or an image{}", name,
                kSequenceHint);
  }
  if (!S_ISREG(status.st_mode)) return spool(fd, name, limits, cancel);
  // A descriptor may stand behind bytes that somebody else has read.
  const off_t at = owned.get() >= 0 ? 0 : ::lseek(fd, 0, SEEK_CUR);
  const std::int64_t begin = std::clamp<std::int64_t>(at, 0, status.st_size);
  return std::make_unique<FileBytes>(std::move(owned), fd, begin, status.st_size - begin, name);
}

std::unique_ptr<ByteSource> open_path(const MediaSource& source, const Limits& limits,
                                      const CancelToken* cancel) {
  // O_NONBLOCK: opening a FIFO without a writer would block where no cancel reaches. Waiting for
  // the first writer is poll's part then, and regular files do not care.
  Descriptor file(::open(source.path().c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
  if (file.get() < 0) {
    const int why = errno;
    source.check_exists();
    throw_error(ErrorCode::kIo, "{}: {}", source.name(), std::strerror(why));
  }
  const int fd = file.get();
  return open_descriptor(std::move(file), fd, source.name(), limits, cancel);
}

}  // namespace

std::unique_ptr<ByteSource> open_byte_source(const MediaSource& source, const Limits& limits,
                                             const CancelToken* cancel) {
  std::unique_ptr<ByteSource> bytes;
  switch (source.kind()) {
    case MediaSource::Kind::kPath:
      bytes = open_path(source, limits, cancel);
      break;
    case MediaSource::Kind::kDescriptor:
      bytes = open_descriptor(Descriptor(), source.descriptor(), source.name(), limits, cancel);
      break;
    case MediaSource::Kind::kMemory:
      bytes = std::make_unique<MemoryBytes>(source);
      break;
  }
  if (bytes->size() == 0) {
    throw_error(ErrorCode::kFormat, "{}: is empty, expected a video or an image", source.name());
  }
  return bytes;
}

}  // namespace reelm::preprocess
