// Checked calls are defined inline in the C library's headers; here they are defined anew.
#undef _FORTIFY_SOURCE

#include "tests/support/fault_injection.h"

#include <fcntl.h>
#include <link.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <new>

namespace {

using reelm::testing::Fault;

std::atomic<int> g_fault{-1};  // the one that is counted
std::atomic<long> g_nth{0};
std::atomic<bool> g_all_after{false};
std::atomic<std::size_t> g_least{0};  // smaller allocations are given
std::atomic<long> g_calls{0};
std::atomic<bool> g_in_ffmpeg{false};  // an allocation of FFmpeg's failed
std::atomic<unsigned long> g_most{ULONG_MAX};

/// Where a shared library lies.
struct Library {
  const char* name;
  std::uintptr_t begin = 0, end = 0;
  bool holds(const void* address) const {
    const auto at = reinterpret_cast<std::uintptr_t>(address);
    return at >= begin && at < end;
  }
};
Library g_gomp = {"libgomp"};
Library g_libomp = {"libomp"};  // clang's
Library g_avutil = {"libavutil"};
constexpr std::size_t kBufferRef = 3 * sizeof(void*);  // sizeof(AVBufferRef)

bool fails(Fault fault) {
  if (g_fault.load(std::memory_order_relaxed) != static_cast<int>(fault)) return false;
  const long call = ++g_calls;
  return g_nth != 0 && (call == g_nth || (g_all_after && call > g_nth));
}

int note_library(struct dl_phdr_info* info, std::size_t, void*) {
  for (Library* library : {&g_gomp, &g_libomp, &g_avutil}) {
    if (info->dlpi_name == nullptr || std::strstr(info->dlpi_name, library->name) == nullptr)
      continue;
    for (int i = 0; i < info->dlpi_phnum; ++i) {
      const auto& part = info->dlpi_phdr[i];
      if (part.p_type != PT_LOAD) continue;
      const std::uintptr_t begin = info->dlpi_addr + part.p_vaddr;
      if (library->begin == 0) library->begin = begin;
      library->end = begin + part.p_memsz;
    }
  }
  return 0;
}

bool allocation_fails(std::size_t size, const void* caller) {
  if (g_fault.load(std::memory_order_relaxed) != static_cast<int>(Fault::kAllocation)) return false;
  if (size < g_least || g_gomp.holds(caller) || g_libomp.holds(caller)) return false;
  if (g_avutil.holds(caller) && (g_all_after || size == kBufferRef)) return false;
  if (!fails(Fault::kAllocation)) return false;
  if (g_avutil.holds(caller)) g_in_ffmpeg = true;
  errno = ENOMEM;
  return true;
}

}  // namespace

// What stands behind malloc: glibc's, or the sanitizer's.
#ifdef REELM_BEFORE_ASAN
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
#define CALLER __builtin_return_address(0)

extern "C" {
void* REAL(malloc)(std::size_t size);
void* REAL(calloc)(std::size_t n, std::size_t size);
void* REAL(realloc)(void* p, std::size_t size);
void* REAL(memalign)(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  return allocation_fails(size, CALLER) ? nullptr : REAL(malloc)(size);
}
void* calloc(std::size_t n, std::size_t size) {
  return allocation_fails(n * size, CALLER) ? nullptr : REAL(calloc)(n, size);
}
void* realloc(void* p, std::size_t size) {
  return allocation_fails(size, CALLER) ? nullptr : REAL(realloc)(p, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  return allocation_fails(size, CALLER) ? nullptr : REAL(memalign)(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) {
  return allocation_fails(size, CALLER) ? nullptr : REAL(memalign)(alignment, size);
}
int posix_memalign(void** out, std::size_t alignment, std::size_t size) {
  if (allocation_fails(size, CALLER)) return ENOMEM;
  void* p = REAL(memalign)(alignment, size);
  if (p == nullptr) return ENOMEM;
  *out = p;
  return 0;
}

ssize_t pread(int fd, void* to, std::size_t n, off_t offset) {
  if (fails(Fault::kRead)) {
    errno = EIO;
    return -1;
  }
  return ::syscall(SYS_pread64, fd, to, std::min<std::size_t>(n, g_most), offset);
}
ssize_t read(int fd, void* to, std::size_t n) {
  if (fails(Fault::kRead)) {
    errno = EIO;
    return -1;
  }
  return ::syscall(SYS_read, fd, to, std::min<std::size_t>(n, g_most));
}
ssize_t write(int fd, const void* from, std::size_t n) {
  if (fails(Fault::kWrite)) {
    errno = ENOSPC;
    return -1;
  }
  return ::syscall(SYS_write, fd, from, n);
}
int fsync(int fd) {
  if (fails(Fault::kSync)) {
    errno = EIO;
    return -1;
  }
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
int rename(const char* from, const char* to) noexcept {
  if (fails(Fault::kRename)) {
    errno = EACCES;
    return -1;
  }
  return ::renameat(AT_FDCWD, from, AT_FDCWD, to);
}
}

#ifdef REELM_BEFORE_ASAN
// The H.264 decoder of FFmpeg 5.1 leaks the parts of a picture that it had when the next was
// refused. What FFmpeg holds when nothing fails is checked by the other programs.
extern "C" const char* __lsan_default_suppressions() { return "leak:libavutil"; }

// The sanitizer's operator new does not come by malloc.
namespace {
void* allocate(std::size_t size, std::size_t alignment, const void* caller) {
  void* p = allocation_fails(size, caller)
                ? nullptr
                : REAL(memalign)(alignment, std::max<std::size_t>(size, 1));
  if (p == nullptr) throw std::bad_alloc();
  return p;
}
void* allocate_or_null(std::size_t size, const void* caller) {
  return allocation_fails(size, caller) ? nullptr : REAL(malloc)(size);
}
}  // namespace
extern "C" void free(void*);
void* operator new(std::size_t n) { return allocate(n, 16, CALLER); }
void* operator new[](std::size_t n) { return allocate(n, 16, CALLER); }
void* operator new(std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a), CALLER);
}
void* operator new[](std::size_t n, std::align_val_t a) {
  return allocate(n, static_cast<std::size_t>(a), CALLER);
}
void* operator new(std::size_t n, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, CALLER);
}
void* operator new[](std::size_t n, const std::nothrow_t&) noexcept {
  return allocate_or_null(n, CALLER);
}
void operator delete(void* p) noexcept { free(p); }
void operator delete[](void* p) noexcept { free(p); }
void operator delete(void* p, std::size_t) noexcept { free(p); }
void operator delete[](void* p, std::size_t) noexcept { free(p); }
void operator delete(void* p, std::align_val_t) noexcept { free(p); }
void operator delete[](void* p, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, std::size_t, std::align_val_t) noexcept { free(p); }
void operator delete[](void* p, std::size_t, std::align_val_t) noexcept { free(p); }
void operator delete(void* p, const std::nothrow_t&) noexcept { free(p); }
void operator delete[](void* p, const std::nothrow_t&) noexcept { free(p); }
#endif

namespace reelm::testing {

FailingCalls::FailingCalls(Fault fault, long nth, bool all_after, std::size_t least) {
  dl_iterate_phdr(note_library, nullptr);
  g_calls = 0;
  g_in_ffmpeg = false;
  g_nth = nth;
  g_all_after = all_after;
  g_least = least;
  g_fault = static_cast<int>(fault);
}

bool FailingCalls::in_ffmpeg() { return g_in_ffmpeg; }

long FailingCalls::stop() {
  g_fault = -1;
  return g_calls;
}

ShortReads::ShortReads(unsigned long most) { g_most = most; }
ShortReads::~ShortReads() { g_most = ULONG_MAX; }

}  // namespace reelm::testing
