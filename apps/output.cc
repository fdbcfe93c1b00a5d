#include "apps/output.h"

#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "apps/interrupt.h"
#include "core/pending_file.h"
#include "core/throw.h"

namespace reelm::apps {

void write_stdout(std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::write(STDOUT_FILENO, text.data(), text.size());
    if (n < 0 && errno == EINTR) {  // nobody reads, and Ctrl-C came
      interrupt_token().check();
      continue;
    }
    if (n < 0) throw_error(ErrorCode::kIo, "standard output: {}", std::strerror(errno));
    text.remove_prefix(static_cast<std::size_t>(n));
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
  // A device would be replaced by a file of its name.
  if (std::filesystem::exists(path, ec) && !std::filesystem::is_regular_file(path, ec)) {
    throw_error(ErrorCode::kIo, "{}: is no regular file, expected one or a new name",
                path.string());
  }
  const PendingFile probe(path);
}

void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  PendingFile file(path, &interrupt_token());
  file.write(bytes.data(), bytes.size());
  file.commit();
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
