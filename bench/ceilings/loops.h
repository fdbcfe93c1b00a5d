// Loops that run as fast as a machine can: plain data, so that the folders of the instruction sets
// can include it.
#pragma once

#include <stdint.h>

namespace reelm::bench {

/// Multiplies and adds in registers, with enough sums under way to hide the latency. A multiply and
/// an add count as two operations.
struct ComputeLoop {
  const char* name;
  double ops_per_iteration;
  /// `operands`: 256 readable and writable bytes, 64-byte aligned, that hold small numbers of the
  /// loop's type; the sums end up there, so that no compiler can leave them out.
  void (*run)(int64_t iterations, void* operands);
};

/// Reads memory once, as `streams` runs side by side, and prefetches some way ahead in each.
struct ReadLoop {
  const char* name;
  int streams;
  /// `bytes` is a multiple of streams * 128; `ahead` (0: none) bytes lie between the line that is
  /// read and the one prefetched. Prefetches may leave the memory; reads do not. `sink`: 64 bytes.
  void (*run)(const char* data, int64_t bytes, int64_t ahead, void* sink);
};

struct ReadLoops {
  const ReadLoop* first;
  int count;
};

const ComputeLoop& portable_f32_loop();
const ComputeLoop& portable_int8_loop();
ReadLoops portable_read_loops();

const ComputeLoop& avx2_f32_loop();
const ComputeLoop& avx2_int8_loop();
ReadLoops avx2_read_loops();

const ComputeLoop& avx512_f32_loop();
ReadLoops avx512_read_loops();

const ComputeLoop& avx512bf16_loop();
const ComputeLoop& avx512vnni_loop();

const ComputeLoop& amx_bf16_loop();
const ComputeLoop& amx_int8_loop();

}  // namespace reelm::bench
