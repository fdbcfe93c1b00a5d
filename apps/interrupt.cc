#include "apps/interrupt.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <string_view>

#include "apps/program.h"
#include "core/leftovers.h"

namespace reelm::apps {

namespace {

// Half a second is promised. Giving back gigabytes of memory and a file's dirty pages takes the
// kernel up to 0.2 s of it.
constexpr double kPatience = 0.25;

CancelToken g_token;
// What errors that reach main() say too.
constexpr std::string_view kCancelled = ": error: cancelled\n";
constexpr std::string_view kTooLate = ": error: the deadline has passed (--timeout)\n";

timer_t g_timer;
bool g_has_timer = false;
std::atomic<bool> g_interrupted{false};
std::atomic<bool> g_error_said{false};

void start_timer(double seconds) noexcept {
  if (!g_has_timer) return;
  struct itimerspec when {};
  when.it_value.tv_sec = static_cast<time_t>(seconds);
  // Not 0: that would stop the timer.
  when.it_value.tv_nsec =
      std::clamp(static_cast<long>((seconds - std::floor(seconds)) * 1e9), 1L, 999'999'999L);
  ::timer_settime(g_timer, 0, &when, nullptr);
}

[[noreturn]] void end_now(std::string_view line, int code) noexcept {
  if (!g_error_said) {
    const std::string_view program = program_invocation_short_name;
    (void)!::write(STDERR_FILENO, program.data(), program.size());
    (void)!::write(STDERR_FILENO, line.data(), line.size());
  }
  Leftover::remove_all();
  ::_exit(code);
}

// Only what is safe in a signal handler is called below.

extern "C" void on_interrupt(int) {
  const int saved = errno;
  if (g_interrupted.exchange(true)) end_now(kCancelled, kExitInterrupted);
  g_token.cancel();
  start_timer(kPatience);
  errno = saved;
}

extern "C" void on_timer(int) {
  if (g_interrupted) end_now(kCancelled, kExitInterrupted);
  end_now(kTooLate, kExitFailed);
}

void install_handlers() {
  struct sigaction action {};
  action.sa_handler = on_timer;
  ::sigaction(SIGALRM, &action, nullptr);
  struct sigevent event {};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGALRM;
  g_has_timer = ::timer_create(CLOCK_MONOTONIC, &event, &g_timer) == 0;
  action.sa_handler = on_interrupt;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

}  // namespace

CancelToken& interrupt_token() {
  static const bool installed = (install_handlers(), true);
  (void)installed;
  return g_token;
}

bool interrupted() noexcept { return g_interrupted; }

void note_error_said() noexcept { g_error_said = true; }

void TimeoutOption::add_to(CLI::App& app) {
  app.add_option("--timeout", seconds,
                 "end after this many seconds, wherever the work is (0: never)")
      ->check(CLI::Range(0.0, 1e9))
      ->capture_default_str();
}

void TimeoutOption::start() const {
  if (seconds <= 0.0) return;
  using Clock = CancelToken::Clock;
  interrupt_token().set_deadline(Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                                    std::chrono::duration<double>(seconds)));
  start_timer(seconds + kPatience);
}

}  // namespace reelm::apps
