#include "preprocess/sandbox/watch.h"

#include <poll.h>
#include <unistd.h>

#include <thread>

namespace reelm::preprocess {

Watch::Watch(int socket) {
  std::thread([this, socket] { run(socket); }).detach();
}

void Watch::expect(double seconds) {
  seconds_ = seconds > 0 ? seconds + kStallGraceSeconds : 0;
  ++signs_;
}

void Watch::run(int socket) {
  constexpr int kTick = 250;  // milliseconds
  std::int64_t seen = 0;
  int idle = 0;  // ticks since the last sign
  for (;;) {
    pollfd request{socket, POLLRDHUP, 0};
    if (::poll(&request, 1, kTick) > 0) ::_exit(0);
    const std::int64_t now = signs_;
    idle = now == seen ? idle + 1 : 0;
    seen = now;
    if (seconds_ > 0 && idle * kTick > seconds_ * 1000) ::_exit(kStalledExit);
  }
}

}  // namespace reelm::preprocess
