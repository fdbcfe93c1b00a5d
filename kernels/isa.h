// The instruction set in use, as a visible object.
#pragma once

#include <span>
#include <string_view>

namespace reelm::kernels {

/// Sets of instructions that kernels exist for, in rising order. Each includes the ones before it.
enum class Isa {
  kPortable,    ///< plain C++ (GCC vector extensions); any machine
  kAvx2,        ///< AVX2 + FMA + F16C
  kAvx512,      ///< AVX-512 F, BW, DQ, VL
  kAvx512Bf16,  ///< kAvx512 + AVX512_BF16 and VNNI (not FP16: Zen 4 and 5 lack it)
  kAmx,         ///< kAvx512Bf16 + AMX's tiles of bf16 and int8 (Sapphire Rapids and later)
};

/// "portable", "avx2", "avx512", "avx512bf16", "amx".
std::string_view isa_name(Isa isa) noexcept;

/// The sets this machine (CPUID and OS state) can run, in rising order. Never empty. The first call
/// asks Linux for the process's permission to use AMX's tiles, where the machine has them.
std::span<const Isa> supported_isas() noexcept;

/// The set kernels dispatch to: the last of supported_isas(), or the one REELM_ISA names. Read
/// once. Throws Error{kInvalidArgument} when REELM_ISA names an unknown set (lists the known ones)
/// or one this machine lacks.
Isa active_isa();

/// Dispatches to `isa` from now on; for tests and benchmarks. Not while kernels run. Throws
/// Error{kUnsupported} when this machine lacks it.
void set_active_isa(Isa isa);

/// The set that the most recent kernel call of this thread really ran with; proof for tests that a
/// forced set was used.
Isa last_isa_run() noexcept;

}  // namespace reelm::kernels
