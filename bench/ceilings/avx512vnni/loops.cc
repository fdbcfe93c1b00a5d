// AVX512_VNNI: products of four u8 and s8, sums in 32 bits.
#include "../loops.h"

#include <immintrin.h>

namespace reelm::bench {

namespace {

constexpr int kSums = 24;

void dot_int8(int64_t iterations, void* operands) {
  auto* const memory = static_cast<int32_t*>(operands);
  const __m512i a = _mm512_load_si512(memory), b = _mm512_load_si512(memory + 16);
  __m512i sums[kSums];
  // Sums that start alike would be one sum to the compiler.
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_epi32(i);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) {
      // Not the intrinsic: GCC 12 copies sums around it and spills most of them.
      asm volatile("vpdpbusd %2, %1, %0" : "+v"(sums[i]) : "v"(a), "v"(b));
    }
  }
#pragma GCC unroll 24
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  _mm512_store_si512(memory + 32, sums[0]);
}

constexpr ComputeLoop kLoop = {"vpdpbusd zmm", kSums * 64 * 2, dot_int8};

}  // namespace

const ComputeLoop& avx512vnni_loop() { return kLoop; }

}  // namespace reelm::bench
