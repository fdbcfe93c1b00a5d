#include "preprocess/sandbox/wire.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/throw.h"

namespace reelm::preprocess {
namespace {

constexpr int kPollMilliseconds = 50;
// A body grows as its bytes come, so that a length alone makes nobody allocate.
constexpr std::size_t kGrowBytes = std::size_t{1} << 20;

struct Header {
  MessageKind kind;
  std::uint32_t request;
  std::uint64_t bytes;
};
static_assert(sizeof(Header) == 16);

bool send_all(int socket, const void* from, std::size_t n) {
  const auto* bytes = static_cast<const std::byte*>(from);
  while (n > 0) {
    const ssize_t put = ::send(socket, bytes, n, MSG_NOSIGNAL);
    if (put < 0 && errno == EINTR) continue;
    if (put <= 0) return false;
    bytes += put;
    n -= static_cast<std::size_t>(put);
  }
  return true;
}

void wait_readable(int socket, const CancelToken* cancel) {
  for (;;) {
    if (cancel != nullptr) cancel->check();
    pollfd request{socket, POLLIN, 0};
    const int ready = ::poll(&request, 1, kPollMilliseconds);
    if (ready > 0) return;
    if (ready < 0 && errno != EINTR) {
      throw_error(ErrorCode::kIo, "waiting for the decoder process: {}", std::strerror(errno));
    }
  }
}

}  // namespace

bool send_message(int socket, const Message& message) {
  const Header header{message.kind, message.request, message.body.size()};
  return send_all(socket, &header, sizeof header) &&
         send_all(socket, message.body.data(), message.body.size());
}

/// Goes on filling `to`, of which `done` bytes are there; false when the other side is gone.
bool Inbox::fill(void* to, std::size_t n, std::size_t& done, const CancelToken* cancel) const {
  while (done < n) {
    wait_readable(socket_, cancel);
    const ssize_t got = ::recv(socket_, static_cast<std::byte*>(to) + done, n - done, 0);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (got <= 0) return false;
    done += static_cast<std::size_t>(got);
  }
  return true;
}

bool Inbox::receive(std::size_t most_bytes, const CancelToken* cancel, Message& message) {
  if (!fill(header_.data(), header_.size(), header_done_, cancel)) return false;
  Header header;
  std::memcpy(&header, header_.data(), sizeof header);
  if (header.bytes > most_bytes) {
    throw_error(ErrorCode::kFormat,
                "the decoder process announced a message of {} bytes, expected at most {}",
                header.bytes, most_bytes);
  }
  while (body_done_ < header.bytes) {
    body_.resize(std::min<std::size_t>(header.bytes, body_done_ + kGrowBytes));
    if (!fill(body_.data(), body_.size(), body_done_, cancel)) return false;
  }
  message = {header.kind, header.request, std::move(body_)};
  body_.clear();
  header_done_ = body_done_ = 0;
  return true;
}

}  // namespace reelm::preprocess
