// AMX: products of tiles of bf16 and of bytes, 16 rows of 64 bytes each.
#include "../loops.h"

namespace reelm::bench {

namespace {

constexpr int kSums = 4;        // tiles 0 to 3; with fewer the unit waits for itself
constexpr int kTileBytes = 64;  // of a row
constexpr int kTileRows = 16;

struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t unused[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

/// The operands of all rows are the first 64 bytes: a stride of 0.
void load_tiles(const void* operands) {
  const TileConfig config;
  asm volatile(
      "ldtilecfg %0\n\t"
      "tilezero %%tmm0\n\ttilezero %%tmm1\n\ttilezero %%tmm2\n\ttilezero %%tmm3\n\t"
      "tileloadd (%1,%2,1), %%tmm4\n\ttileloadd (%1,%2,1), %%tmm5\n\t"
      "tileloadd (%1,%2,1), %%tmm6\n\ttileloadd (%1,%2,1), %%tmm7"
      :
      : "m"(config), "r"(operands), "r"(int64_t{0})
      : "memory");
}

/// One row of a sum, so that no part of the loop is without use.
void store_tiles(void* operands) {
  alignas(64) char sums[kTileRows * kTileBytes];
  asm volatile("tilestored %%tmm0, (%0,%1,1)\n\ttilerelease"
               :
               : "r"(sums), "r"(int64_t{kTileBytes})
               : "memory");
  __builtin_memcpy(static_cast<char*>(operands) + 128, sums, kTileBytes);
}

void tiles_bf16(int64_t iterations, void* operands) {
  load_tiles(operands);
  for (int64_t n = 0; n < iterations; ++n) {
    asm volatile(
        "tdpbf16ps %tmm6, %tmm4, %tmm0\n\ttdpbf16ps %tmm7, %tmm4, %tmm1\n\t"
        "tdpbf16ps %tmm6, %tmm5, %tmm2\n\ttdpbf16ps %tmm7, %tmm5, %tmm3");
  }
  store_tiles(operands);
}

void tiles_int8(int64_t iterations, void* operands) {
  load_tiles(operands);
  for (int64_t n = 0; n < iterations; ++n) {
    asm volatile(
        "tdpbsud %tmm6, %tmm4, %tmm0\n\ttdpbsud %tmm7, %tmm4, %tmm1\n\t"
        "tdpbsud %tmm6, %tmm5, %tmm2\n\ttdpbsud %tmm7, %tmm5, %tmm3");
  }
  store_tiles(operands);
}

constexpr double kOps = kSums * 16.0 * 16.0 * 2.0;  // of one k
constexpr ComputeLoop kBf16Loop = {"tdpbf16ps", kOps * 32, tiles_bf16};
constexpr ComputeLoop kInt8Loop = {"tdpbsud", kOps * 64, tiles_int8};

}  // namespace

const ComputeLoop& amx_bf16_loop() { return kBf16Loop; }
const ComputeLoop& amx_int8_loop() { return kInt8Loop; }

}  // namespace reelm::bench
