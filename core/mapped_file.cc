#include "core/mapped_file.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>
#include <utility>

#include "core/throw.h"

namespace reelm {

struct MappedFile::Range {
  std::atomic<std::uintptr_t> begin{0};  // 0: free
  std::atomic<std::uintptr_t> end{0};    // at a page
  std::atomic<bool> damaged{false};
};

namespace {

// Fixed: the handler may run at any moment, in any thread.
MappedFile::Range g_ranges[1024];
std::uintptr_t g_page = 4096;
struct sigaction g_before {};  // the handler that SIGBUS had

MappedFile::Range* note_range(const std::byte* data, std::size_t size) noexcept {
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<std::uintptr_t>(data);
  for (MappedFile::Range& range : g_ranges) {
    std::uintptr_t expected = 0;
    if (!range.begin.compare_exchange_strong(expected, begin)) continue;
    range.damaged = false;
    range.end = (begin + size + page - 1) / page * page;
    return &range;
  }
  return nullptr;
}

void forget_range(MappedFile::Range* range) noexcept {
  if (range == nullptr) return;
  range->end = 0;
  range->begin = 0;
}

MappedFile::Range* find_range(std::uintptr_t address) noexcept {
  for (MappedFile::Range& range : g_ranges) {
    if (address >= range.begin && address < range.end) return &range;
  }
  return nullptr;
}

/// Puts zeros in the place of the lost page and all behind it, which are lost as a rule: a fault
/// for each of them would take seconds.
extern "C" void on_bus_error(int, siginfo_t* info, void*) {
  const int saved = errno;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  MappedFile::Range* range = find_range(address);
  const std::uintptr_t page = address / g_page * g_page;
  if (range == nullptr || ::mmap(reinterpret_cast<void*>(page), range->end - page, PROT_READ,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED) {
    ::sigaction(SIGBUS, &g_before, nullptr);  // the instruction faults again, for that one
  } else {
    range->damaged = true;
  }
  errno = saved;
}

}  // namespace

void guard_mapped_files() {
  static std::once_flag once;
  std::call_once(once, [] {
    g_page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, &g_before);
  });
}

void MappedFile::check_intact() const {
  if (range_ == nullptr || !range_->damaged) return;
  throw_error(ErrorCode::kIo,
              "{}: became shorter than its {} bytes while it was in use, or the disk has an error",
              path_.string(), size_);
}

MappedFile::MappedFile(const std::filesystem::path& path) : path_(path) {
  // O_NONBLOCK: opening a FIFO by mistake must not hang; fstat below refuses it.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    const int e = errno;
    throw_error(e == ENOENT || e == ENOTDIR ? ErrorCode::kNotFound : ErrorCode::kIo, "{}: {}",
                path.string(), std::strerror(e));
  }
  struct stat st {};
  const int stat_result = ::fstat(fd, &st);
  const int stat_errno = errno;
  if (stat_result != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    throw_error(ErrorCode::kIo, "{}: {}", path.string(),
                stat_result != 0      ? std::strerror(stat_errno)
                : S_ISDIR(st.st_mode) ? "is a directory, expected a regular file"
                                      : "is not a regular file");
  }
  size_ = static_cast<std::size_t>(st.st_size);
  if (size_ != 0) {
    void* p = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd, 0);
    const int e = errno;
    ::close(fd);
    if (p == MAP_FAILED) {
      throw_error(ErrorCode::kIo, "{}: cannot map {} bytes: {}", path.string(), size_,
                  std::strerror(e));
    }
    data_ = static_cast<const std::byte*>(p);
    range_ = note_range(data_, size_);
  } else {
    ::close(fd);
  }
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : path_(std::move(other.path_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)),
      range_(std::exchange(other.range_, nullptr)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(range_, other.range_);
  return *this;
}

MappedFile::~MappedFile() {
  forget_range(range_);  // first: another thread may get the same address
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile map_parsed_file(const std::filesystem::path& path, const Limits& limits) {
  MappedFile file(path);
  if (static_cast<std::int64_t>(file.bytes().size()) > limits.json_bytes) {
    throw_error(ErrorCode::kLimit, "{}: {} bytes, over the limit json-bytes ({})", path.string(),
                file.bytes().size(), limits.json_bytes);
  }
  return file;
}

}  // namespace reelm
