#include "apps/output.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "core/throw.h"

namespace reelm::apps {

namespace {

extern "C" void on_interrupt(int) { interrupt_token().cancel(); }

std::filesystem::path aside(const std::filesystem::path& path) {
  std::filesystem::path out = path;
  out += ".tmp" + std::to_string(::getpid());
  return out;
}

}  // namespace

void write_stdout(std::string_view text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0) {
    throw_error(ErrorCode::kIo, "standard output: {}", std::strerror(errno));
  }
}

void warn(std::string_view message) { fmt::print(stderr, "reelm: warning: {}\n", message); }

std::string read_stdin(std::int64_t limit) {
  std::string out;
  char buffer[65536];
  while (true) {
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) {
      interrupt_token().check();
      continue;
    }
    if (n < 0) throw_error(ErrorCode::kIo, "standard input: {}", std::strerror(errno));
    if (n == 0) return out;
    out.append(buffer, static_cast<std::size_t>(n));
    if (static_cast<std::int64_t>(out.size()) > limit) {
      throw_error(ErrorCode::kLimit, "standard input: more than {} bytes of text", limit);
    }
  }
}

void check_writable(const std::filesystem::path& path) {
  std::error_code ec;
  if (std::filesystem::is_directory(path, ec)) {
    throw_error(ErrorCode::kIo, "{}: is a directory, expected a file to write", path.string());
  }
  const std::filesystem::path probe = aside(path);
  const int fd = ::open(probe.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) throw_error(ErrorCode::kIo, "{}: {}", path.string(), std::strerror(errno));
  ::close(fd);
  ::unlink(probe.c_str());
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  const std::filesystem::path temporary = aside(path);
  const auto fail = [&](int error) {
    ::unlink(temporary.c_str());
    throw_error(ErrorCode::kIo, "{}: {}", path.string(), std::strerror(error));
  };
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) fail(errno);
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      const int error = errno;
      ::close(fd);
      fail(error);
    }
    bytes = bytes.subspan(static_cast<std::size_t>(n));
  }
  if (::close(fd) != 0) fail(errno);
  if (::rename(temporary.c_str(), path.c_str()) != 0) fail(errno);
}

CancelToken& interrupt_token() {
  static CancelToken token;
  static const bool installed = [] {
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    action.sa_flags = static_cast<int>(SA_RESETHAND);  // the second one kills
    ::sigaction(SIGINT, &action, nullptr);
    ::sigaction(SIGTERM, &action, nullptr);
    return true;
  }();
  (void)installed;
  return token;
}

ProgressLine::ProgressLine(bool enabled) : enabled_(enabled && ::isatty(STDERR_FILENO) == 1) {}
ProgressLine::~ProgressLine() { clear(); }

void ProgressLine::show(std::string_view text) {
  if (!enabled_) return;
  fmt::print(stderr, "\r\033[K{}", text);
  std::fflush(stderr);
  shown_ = true;
}

void ProgressLine::clear() {
  if (!shown_) return;
  fmt::print(stderr, "\r\033[K");
  std::fflush(stderr);
  shown_ = false;
}

}  // namespace reelm::apps
