#include "core/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdlib>

#include "core/throw.h"

namespace reelm::internal {

namespace {
constexpr std::size_t kCacheLine = 64;
constexpr std::size_t kHugePage = std::size_t{2} << 20;
}  // namespace

void* allocate_aligned(std::size_t n_bytes) {
  if (n_bytes == 0) return nullptr;
  const std::size_t alignment = n_bytes >= 2 * kHugePage ? kHugePage : kCacheLine;
  const std::size_t rounded = (n_bytes + alignment - 1) / alignment * alignment;
  void* p = rounded < n_bytes ? nullptr : std::aligned_alloc(alignment, rounded);
  if (p == nullptr) {
    throw_error(ErrorCode::kOutOfMemory, "out of memory: {} bytes were asked for", n_bytes);
  }
#ifdef MADV_HUGEPAGE
  // 2 MiB pages: streaming weights with 4 KiB pages loses about a quarter of the bandwidth to TLB
  // misses.
  if (alignment == kHugePage) (void)madvise(p, rounded, MADV_HUGEPAGE);
#endif
  return p;
}

void free_aligned(void* p) noexcept { std::free(p); }

}  // namespace reelm::internal
