// Vector extensions of the compiler: any machine.
#include "../loops.h"

#include "../read_loop.h"

namespace reelm::bench {

namespace {

typedef float F32 __attribute__((vector_size(16)));
typedef int16_t I16 __attribute__((vector_size(16)));
constexpr int kSums = 12;

/// sum = sum * a + b: stays bounded for |a| < 1.
template <class Reg>
void multiply_add(int64_t iterations, void* operands) {
  auto* const memory = static_cast<Reg*>(operands);
  const Reg a = memory[0], b = memory[1];
  Reg sums[kSums];
  // Sums that start alike would be one sum to the compiler.
  sums[0] = b;
#pragma GCC unroll 12
  for (int i = 1; i < kSums; ++i) sums[i] = sums[i - 1] + b;
  for (int64_t n = 0; n < iterations; ++n) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; ++i) sums[i] = sums[i] * a + b;
  }
  for (int i = 1; i < kSums; ++i) sums[0] += sums[i];
  memory[2] = sums[0];
}

struct Vec {
  using Reg = F32;
  static constexpr int kWidth = 16;
  static Reg zero() { return Reg{}; }
  static Reg load(const void* p) { return *static_cast<const Reg*>(p); }
  static Reg mix(Reg a, Reg b) { return a + b; }
  static void store(void* p, Reg a) { *static_cast<Reg*>(p) = a; }
};

constexpr ComputeLoop kF32 = {"f32 multiply-add, 4 lanes", kSums * 4 * 2, multiply_add<F32>};
// Stands in for int8: what eight-bit products become without an instruction of their own.
constexpr ComputeLoop kInt8 = {"int16 multiply-add, 8 lanes", kSums * 8 * 2, multiply_add<I16>};
constexpr ReadLoop kRead[] = {{"16-byte loads", 1, read_memory<Vec, 1>},
                              {"16-byte loads", 4, read_memory<Vec, 4>},
                              {"16-byte loads", 8, read_memory<Vec, 8>}};

}  // namespace

const ComputeLoop& portable_f32_loop() { return kF32; }
const ComputeLoop& portable_int8_loop() { return kInt8; }
ReadLoops portable_read_loops() { return {kRead, 3}; }

}  // namespace reelm::bench
