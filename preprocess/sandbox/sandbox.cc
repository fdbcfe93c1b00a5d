#include "preprocess/sandbox.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <iterator>
#include <map>
#include <optional>

#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/sandbox/confine.h"
#include "preprocess/sandbox/decoder_process.h"
#include "preprocess/sandbox/wire.h"

namespace reelm::preprocess {
namespace {

constexpr std::size_t kDescriptors = 3;  // socket, bytes, frames
using Descriptors = std::array<int, kDescriptors>;

/// A message of one byte and descriptors, as sendmsg wants it.
class DescriptorMessage {
 public:
  DescriptorMessage() {
    header_.msg_iov = &vector_;
    header_.msg_iovlen = 1;
    header_.msg_control = control_;
    header_.msg_controllen = sizeof control_;
  }
  bool send(int socket, const Descriptors& fds) {
    cmsghdr* item = CMSG_FIRSTHDR(&header_);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(sizeof fds);
    std::memcpy(CMSG_DATA(item), fds.data(), sizeof fds);
    ssize_t sent;
    do {
      sent = ::sendmsg(socket, &header_, MSG_NOSIGNAL);
    } while (sent < 0 && errno == EINTR);
    return sent == 1;
  }
  /// Nothing when the other side is gone.
  std::optional<Descriptors> receive(int socket) {
    ssize_t got;
    do {
      got = ::recvmsg(socket, &header_, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    const cmsghdr* item = got == 1 ? CMSG_FIRSTHDR(&header_) : nullptr;
    if (item == nullptr || item->cmsg_type != SCM_RIGHTS ||
        item->cmsg_len != CMSG_LEN(sizeof(Descriptors))) {
      return std::nullopt;
    }
    Descriptors fds;
    std::memcpy(fds.data(), CMSG_DATA(item), sizeof fds);
    return fds;
  }

 private:
  char byte_ = 0;
  iovec vector_{&byte_, 1};
  alignas(cmsghdr) char control_[CMSG_SPACE(sizeof(Descriptors))] = {};
  msghdr header_{};
};

/// Forks decoders on demand and tells their users how they ended. One thread, so fork() is safe.
class Forker {
 public:
  explicit Forker(int control) : control_(control) {}

  [[noreturn]] void run() {
    ::prctl(PR_SET_NAME, "reelm-decoders");
    Timeline::abandon();  // decoders tell their times to the process that uses them
    // Ctrl-C goes to the whole group; the user of the decoders decides what it means.
    for (const int ignored : {SIGINT, SIGQUIT, SIGHUP, SIGTERM, SIGPIPE}) {
      std::signal(ignored, SIG_IGN);
    }
    const int null = ::open("/dev/null", O_RDWR);
    if (null >= 0) {  // the user's pipes must not stay open because of us
      ::dup2(null, STDIN_FILENO);
      ::dup2(null, STDOUT_FILENO);
    }
    ::dup2(control_, kControl);
    ::close_range(kControl + 1, ~0U, 0);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    ::sigprocmask(SIG_BLOCK, &children, &before_);
    const int signals = ::signalfd(-1, &children, SFD_CLOEXEC);
    for (;;) {
      std::array<pollfd, 2> ready{{{kControl, POLLIN, 0}, {signals, POLLIN, 0}}};
      if (::poll(ready.data(), ready.size(), -1) < 0) continue;
      if (ready[1].revents != 0) {
        signalfd_siginfo info;
        if (::read(signals, &info, sizeof info) > 0) reap();
      }
      if (ready[0].revents != 0 && !serve()) ::_exit(0);
    }
  }

 private:
  static constexpr int kControl = 3;
  static constexpr int kFirst = 3;  // in a decoder: socket, bytes, frames

  /// One request; false at the end.
  bool serve() {
    const std::optional<Descriptors> fds = DescriptorMessage().receive(kControl);
    if (!fds) return false;
    const pid_t child = ::fork();
    if (child == 0) {
      become_decoder(*fds);
    }
    const auto [socket, bytes, frames] = *fds;
    ::close(bytes);
    ::close(frames);
    if (child < 0) {
      tell_end(socket, 0);
    } else {
      sockets_[child] = socket;
    }
    return true;
  }

  [[noreturn]] void become_decoder(const Descriptors& fds) {
    ::sigprocmask(SIG_SETMASK, &before_, nullptr);
    // Out of the way of where they go: fds may already be 3 to 5 in another order.
    std::array<int, kDescriptors> high;
    for (std::size_t i = 0; i < kDescriptors; ++i) {
      high[i] = ::fcntl(fds[i], F_DUPFD, 64);
      if (high[i] < 0) ::_exit(1);
    }
    for (std::size_t i = 0; i < kDescriptors; ++i) ::dup2(high[i], kFirst + static_cast<int>(i));
    ::close_range(kFirst + kDescriptors, ~0U, 0);  // other decoders' among them
    serve_decoder(kFirst, kFirst + 1, kFirst + 2);
  }

  void reap() {
    int status = 0;
    for (pid_t child; (child = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      const auto found = sockets_.find(child);
      if (found == sockets_.end()) continue;
      tell_end(found->second, status);
      sockets_.erase(found);
    }
  }

  static void tell_end(int socket, int status) {
    Message message{.kind = MessageKind::kDied};
    WireWriter(message).put(status);
    ::fcntl(socket, F_SETFL, O_NONBLOCK);  // nobody may be reading
    (void)send_message(socket, message);
    ::close(socket);
  }

  int control_;
  sigset_t before_{};
  std::map<pid_t, int> sockets_;
};

bool has_one_thread() {
  std::error_code failed;
  const std::filesystem::directory_iterator tasks("/proc/self/task", failed);
  return !failed && std::distance(begin(tasks), end(tasks)) == 1;
}

}  // namespace

bool Sandbox::available() noexcept { return can_confine(); }

std::unique_ptr<Sandbox> Sandbox::start() { return start(Options()); }

std::unique_ptr<Sandbox> Sandbox::start(const Options& options) {
  const TimelineSpan span("sandbox", SpanKind::kStage);
  if (!available()) {
    throw Error(ErrorCode::kUnsupported, "the decoder sandbox: this kernel has no seccomp filters");
  }
  if (!has_one_thread()) {
    throw Error(ErrorCode::kInvalidArgument,
                "the decoder sandbox must be started while the process has one thread");
  }
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw_error(ErrorCode::kIo, "the decoder sandbox: socketpair: {}", std::strerror(errno));
  }
  const pid_t process = ::fork();
  if (process == 0) {
    Forker(ends[1]).run();
  }
  const int error = errno;
  ::close(ends[1]);
  if (process < 0) {
    ::close(ends[0]);
    throw_error(ErrorCode::kIo, "the decoder sandbox: fork: {}", std::strerror(error));
  }
  return std::unique_ptr<Sandbox>(new Sandbox(ends[0], process, options));
}

Sandbox::~Sandbox() {
  ::close(control_);
  while (::waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
  }
}

void Sandbox::fork_decoder(int socket, int bytes, int frames) const {
  if (!DescriptorMessage().send(control_, {socket, bytes, frames})) {
    throw_error(ErrorCode::kIo, "the decoder sandbox has ended: {}", std::strerror(errno));
  }
}

}  // namespace reelm::preprocess
