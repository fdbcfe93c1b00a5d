#include "kernels/convert.h"

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

template <typename From, typename To>
void run(void (*fn)(const void*, void*, std::int64_t), const From* from, To* to, std::int64_t n) {
  // Blocks of 1,024 keep every thread's part on lines of its own.
  constexpr std::int64_t kBlock = 1024;
  parallel_for((n + kBlock - 1) / kBlock, 32, [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * kBlock, last = end * kBlock < n ? end * kBlock : n;
    fn(from + first, to + first, last - first);
  });
}

}  // namespace

void convert(const float* from, bf16_t* to, std::int64_t n) {
  run(use_table().f32_to_bf16, from, to, n);
}
void convert(const bf16_t* from, float* to, std::int64_t n) {
  run(use_table().bf16_to_f32, from, to, n);
}
void convert(const f16_t* from, float* to, std::int64_t n) {
  run(use_table().f16_to_f32, from, to, n);
}

}  // namespace reelm::kernels
