// AVX2 and FMA: 16 registers of 32 bytes.
#include "../loops.h"

#include <immintrin.h>

#include "../read_loop.h"

namespace reelm::bench {

namespace {

// 12 sums and two operands fill 14 of 16 registers; 2 FMAs a cycle of 4 to 5 cycles need 8 to 10.
constexpr int kSums = 12;

void fma_f32(int64_t iterations, void* operands) {
  auto* const memory = static_cast<float*>(operands);
  const __m256 a = _mm256_load_ps(memory), b = _mm256_load_ps(memory + 8);
  __m256 sums[kSums];
  // Sums that start alike would be one sum to the compiler.
#pragma GCC unroll 12
  for (int i = 0; i < kSums; ++i) sums[i] = _mm256_set1_ps(static_cast<float>(i));
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = _mm256_fmadd_ps(a, b, sums[i]);
  }
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) sums[0] = _mm256_add_ps(sums[0], sums[i]);
  _mm256_store_ps(memory + 16, sums[0]);
}

// u8 * s8 pairs to 16 bits, pairs of those to 32, and the sum: three instructions for 64
// operations. The products do not depend on the sums, so 8 of these are plenty.
void dot_int8(int64_t iterations, void* operands) {
  constexpr int kInt8Sums = 8;
  auto* const memory = static_cast<__m256i*>(operands);
  __m256i a = _mm256_load_si256(memory);
  const __m256i b = _mm256_load_si256(memory + 1), ones = _mm256_set1_epi16(1);
  __m256i sums[kInt8Sums];
#pragma GCC unroll 8
  for (int i = 0; i < kInt8Sums; ++i) sums[i] = _mm256_set1_epi32(i);
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 8
    for (int i = 0; i < kInt8Sums; ++i) {
      asm volatile("" : "+x"(a));  // or the product of constants would leave the loop
      const __m256i pairs = _mm256_maddubs_epi16(a, b);
      sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs, ones));
    }
  }
#pragma GCC unroll 8
  for (int i = 1; i < kInt8Sums; ++i) sums[0] = _mm256_add_epi32(sums[0], sums[i]);
  _mm256_store_si256(memory + 2, sums[0]);
}

struct Vec {
  using Reg = __m256i;
  static constexpr int kWidth = 32;
  static Reg zero() { return _mm256_setzero_si256(); }
  static Reg load(const void* p) { return _mm256_load_si256(static_cast<const __m256i*>(p)); }
  static Reg mix(Reg a, Reg b) { return _mm256_or_si256(a, b); }
  static void store(void* p, Reg a) { _mm256_store_si256(static_cast<__m256i*>(p), a); }
};

constexpr ComputeLoop kF32 = {"vfmadd231ps ymm", kSums * 8 * 2, fma_f32};
constexpr ComputeLoop kInt8 = {"vpmaddubsw + vpmaddwd + vpaddd ymm", 8 * 32 * 2, dot_int8};
constexpr ReadLoop kRead[] = {{"32-byte loads", 1, read_memory<Vec, 1>},
                              {"32-byte loads", 2, read_memory<Vec, 2>},
                              {"32-byte loads", 4, read_memory<Vec, 4>},
                              {"32-byte loads", 8, read_memory<Vec, 8>}};

}  // namespace

const ComputeLoop& avx2_f32_loop() { return kF32; }
const ComputeLoop& avx2_int8_loop() { return kInt8; }
ReadLoops avx2_read_loops() { return {kRead, 4}; }

}  // namespace reelm::bench
