#include "preprocess/sandbox/confine.h"

#include <fcntl.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "core/throw.h"

namespace reelm::preprocess {
namespace {

[[noreturn]] void refused(const char* what, int error) {
  throw_error(ErrorCode::kUnsupported, "the decoder sandbox: {}: {}", what, std::strerror(error));
}

void limit(int resource, rlim_t most, const char* what) {
  const rlimit value{most, most};
  if (::setrlimit(resource, &value) != 0) refused(what, errno);
}

void limit_resources([[maybe_unused]] std::int64_t memory_bytes) {
  limit(RLIMIT_CORE, 0, "RLIMIT_CORE");
  limit(RLIMIT_FSIZE, 0, "RLIMIT_FSIZE");
#ifndef __SANITIZE_ADDRESS__  // its shadow is more than any limit
  limit(RLIMIT_DATA, static_cast<rlim_t>(memory_bytes), "RLIMIT_DATA");
#endif
}

/// A condition on an argument of a call. (The macros of seccomp.h are C.)
scmp_arg_cmp argument(unsigned number, scmp_compare how, scmp_datum_t a, scmp_datum_t b = 0) {
  return {number, how, a, b};
}

scmp_arg_cmp argument_is(unsigned number, int value) {
  return argument(number, SCMP_CMP_EQ, static_cast<scmp_datum_t>(value));
}

class Filter {
 public:
  Filter() : context_(seccomp_init(SCMP_ACT_ERRNO(EPERM)), &seccomp_release) {
    if (!context_) refused("seccomp_init", ENOMEM);
  }
  template <typename... Conditions>
  void allow(int call, Conditions... conditions) {
    add(SCMP_ACT_ALLOW, call, conditions...);
  }
  template <typename... Conditions>
  void add(std::uint32_t action, int call, Conditions... conditions) {
    const int failed =
        seccomp_rule_add(context_.get(), action, call, sizeof...(conditions), conditions...);
    if (failed < 0) refused("seccomp_rule_add", -failed);
  }
  void load() {
    const int failed = seccomp_load(context_.get());
    if (failed < 0) refused("seccomp_load", -failed);
  }

 private:
  std::unique_ptr<void, void (*)(scmp_filter_ctx)> context_;
};

void filter_calls(int socket) {
  Filter filter;
  for (const int call : {
           // Reading what is open.
           SCMP_SYS(read),
           SCMP_SYS(pread64),
           SCMP_SYS(lseek),
           SCMP_SYS(fstat),
           SCMP_SYS(poll),
           SCMP_SYS(ppoll),
           SCMP_SYS(recvfrom),
           SCMP_SYS(recvmsg),
           SCMP_SYS(close),
           // Memory.
           SCMP_SYS(munmap),
           SCMP_SYS(mremap),
           SCMP_SYS(madvise),
           SCMP_SYS(brk),
           // Threads and time.
           SCMP_SYS(futex),
           SCMP_SYS(set_robust_list),
           SCMP_SYS(rseq),
           SCMP_SYS(sched_yield),
           SCMP_SYS(sched_getaffinity),
           SCMP_SYS(sigaltstack),
           SCMP_SYS(rt_sigprocmask),
           SCMP_SYS(rt_sigaction),
           SCMP_SYS(rt_sigreturn),
           SCMP_SYS(restart_syscall),
           SCMP_SYS(clock_gettime),
           SCMP_SYS(clock_nanosleep),
           SCMP_SYS(nanosleep),
           SCMP_SYS(gettimeofday),
           SCMP_SYS(getpid),
           SCMP_SYS(gettid),
           SCMP_SYS(getrandom),
           SCMP_SYS(sysinfo),
           SCMP_SYS(getrusage),
           SCMP_SYS(membarrier),
           // The end.
           SCMP_SYS(exit),
           SCMP_SYS(exit_group),
       }) {
    filter.allow(call);
  }
  for (const int fd : {STDERR_FILENO, socket}) {
    filter.allow(SCMP_SYS(write), argument_is(0, fd));
    filter.allow(SCMP_SYS(writev), argument_is(0, fd));
  }
  filter.allow(SCMP_SYS(sendto), argument_is(0, socket));
#ifdef __SANITIZE_ADDRESS__
  // UBSan finds out whether memory is readable by writing it to a pipe of its own, which gets the
  // numbers after the decoder's three.
  filter.allow(SCMP_SYS(pipe2));
  filter.allow(SCMP_SYS(write), argument(0, SCMP_CMP_GT, static_cast<scmp_datum_t>(socket) + 2));
#endif
  // fstat() of newer C libraries: of a descriptor, by an empty name.
  filter.allow(SCMP_SYS(newfstatat), argument_is(3, AT_EMPTY_PATH));
  // Nothing becomes a program.
  filter.allow(SCMP_SYS(mmap), argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  filter.allow(SCMP_SYS(mprotect), argument(2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  // Threads, not processes. The arguments of clone3 cannot be seen: the C library falls back.
  filter.allow(SCMP_SYS(clone), argument(0, SCMP_CMP_MASKED_EQ, CLONE_THREAD, CLONE_THREAD));
  filter.add(SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3));
  filter.allow(SCMP_SYS(prctl), argument_is(0, PR_SET_NAME));
  // abort(): a signal to nobody else.
  filter.allow(SCMP_SYS(tgkill), argument_is(0, ::getpid()));
  filter.load();
}

}  // namespace

bool can_confine() noexcept { return ::prctl(PR_GET_SECCOMP, 0, 0, 0, 0) >= 0; }

void confine_process(int socket, std::int64_t memory_bytes) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) refused("PR_SET_NO_NEW_PRIVS", errno);
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) refused("PR_SET_DUMPABLE", errno);
  limit_resources(memory_bytes);
  filter_calls(socket);
}

}  // namespace reelm::preprocess
