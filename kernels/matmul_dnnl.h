// Products through oneDNN, on the panels PackedMatrix holds. Not installed.
#pragma once

#include <cstdint>

#include "matmul.h"

namespace reelm::kernels {

/// One product with everything dense: a [m, k_pad] (bf16 or f32, as the weights), y [m, n].
struct DnnlProduct {
  bool bf16;
  std::int64_t m, n, k_pad;
  const void* a;
  const void* b;  // panels; the format oneDNN calls BA16a64b2a (bf16) or BA16a64b (f32)
  float* y;
  Epilogue epilogue;
};

/// Whether oneDNN has a kernel of its own (not its plain loops) for this shape on this machine. May
/// compile it, once per shape and number of threads. Thread-safe.
bool dnnl_has_kernel(const DnnlProduct& product);

/// Runs it. Only after dnnl_has_kernel() said yes, and outside of parallel regions: a kernel made
/// for n threads computes a part of the product when it gets fewer.
void dnnl_run(const DnnlProduct& product);

}  // namespace reelm::kernels
