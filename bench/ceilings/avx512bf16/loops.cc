// AVX512_BF16: products of pairs of bf16, sums in f32.
#include "../loops.h"

#include <immintrin.h>

namespace reelm::bench {

namespace {

constexpr int kSums = 24;

void dot_bf16(int64_t iterations, void* operands) {
  auto* const memory = static_cast<float*>(operands);
  const auto a = (__m512bh)_mm512_load_si512(memory);
  const auto b = (__m512bh)_mm512_load_si512(memory + 16);
  __m512 sums[kSums];
  // Sums that start alike would be one sum to the compiler.
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  }
#pragma GCC unroll 24
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  _mm512_store_ps(memory + 32, sums[0]);
}

constexpr ComputeLoop kLoop = {"vdpbf16ps zmm", kSums * 32 * 2, dot_bf16};

}  // namespace

const ComputeLoop& avx512bf16_loop() { return kLoop; }

}  // namespace reelm::bench
