// Which table of kernels runs. Not installed.
#pragma once

#include "../core/aligned_buffer.h"
#include "isa.h"
#include "simd/table.h"

namespace reelm::kernels {

/// The table every kernel call starts with; notes its set for last_isa_run(). Throws what
/// active_isa() throws.
const KernelTable& use_table();

/// Tests only: calls go to `table` (emulated AVX-512) until set_active_isa() is called; null
/// undoes.
void set_table_for_testing(const KernelTable* table);

/// Whether the table in use is the machine's own, so that oneDNN may run in its place.
bool table_is_native(const KernelTable& table) noexcept;

/// This thread's scratch of at least `size` floats. Kept, so that a forward pass allocates nothing
/// once warm. `slot`: buffers that are in use together.
enum class Scratch { kActivations, kKernel, kPartial, kDnnl, kGated, kCount };
float* scratch_floats(Scratch slot, std::size_t size);

}  // namespace reelm::kernels
