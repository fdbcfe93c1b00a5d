// AVX-512 F: 32 registers of 64 bytes.
#include "../loops.h"

#include <immintrin.h>

#include "../read_loop.h"

namespace reelm::bench {

namespace {

constexpr int kSums = 24;

void fma_f32(int64_t iterations, void* operands) {
  auto* const memory = static_cast<float*>(operands);
  const __m512 a = _mm512_load_ps(memory), b = _mm512_load_ps(memory + 16);
  __m512 sums[kSums];
  // Sums that start alike would be one sum to the compiler.
#pragma GCC unroll 24
  for (int i = 0; i < kSums; ++i) sums[i] = _mm512_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 24
    for (int i = 0; i < kSums; ++i) sums[i] = _mm512_fmadd_ps(a, b, sums[i]);
  }
#pragma GCC unroll 24
  for (int i = 1; i < kSums; ++i) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  _mm512_store_ps(memory + 32, sums[0]);
}

struct Vec {
  using Reg = __m512i;
  static constexpr int kWidth = 64;
  static Reg zero() { return _mm512_setzero_si512(); }
  static Reg load(const void* p) { return _mm512_load_si512(p); }
  static Reg mix(Reg a, Reg b) { return _mm512_or_si512(a, b); }
  static void store(void* p, Reg a) { _mm512_store_si512(p, a); }
};

constexpr ComputeLoop kF32 = {"vfmadd231ps zmm", kSums * 16 * 2, fma_f32};
constexpr ReadLoop kRead[] = {{"64-byte loads", 1, read_memory<Vec, 1>},
                              {"64-byte loads", 2, read_memory<Vec, 2>},
                              {"64-byte loads", 4, read_memory<Vec, 4>},
                              {"64-byte loads", 8, read_memory<Vec, 8>}};

}  // namespace

const ComputeLoop& avx512_f32_loop() { return kF32; }
ReadLoops avx512_read_loops() { return {kRead, 4}; }

}  // namespace reelm::bench
