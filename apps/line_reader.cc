#include "apps/line_reader.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "apps/interrupt.h"
#include "core/throw.h"

namespace reelm::apps {

namespace {
constexpr int kPollMs = 50;
}  // namespace

bool LineReader::fill() {
  char buffer[4096];
  while (true) {
    // A signal may come just before a wait, which it then does not end.
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN, .revents = 0};
    const int ready = ::poll(&input, 1, kPollMs);
    interrupt_token().check();
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    interrupt_token().check();  // who interrupts and closes the input means the former
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) throw_error(ErrorCode::kIo, "standard input: {}", std::strerror(errno));
    pending_.append(buffer, static_cast<std::size_t>(n));
    return n > 0;
  }
}

std::optional<std::string> LineReader::next() {
  std::size_t end = 0;
  while ((end = pending_.find('\n', end)) == std::string::npos) {
    end = pending_.size();
    if (static_cast<std::int64_t>(end) > limit_) {
      throw_error(ErrorCode::kLimit, "standard input: a line of more than {} bytes", limit_);
    }
    if (fill()) continue;
    if (end == 0) return std::nullopt;
    break;
  }
  std::string line = pending_.substr(0, end);
  pending_.erase(0, end + 1);
  if (line.ends_with('\r')) line.pop_back();
  return line;
}

}  // namespace reelm::apps
