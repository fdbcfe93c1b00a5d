#include "kernels/isa.h"

#include <array>
#include <atomic>
#include <cstdlib>
#include <string>

#include "core/throw.h"
#include "kernels/dispatch.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace reelm::kernels {

namespace {

constexpr std::array kAllIsas = {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16,
                                 Isa::kAmx};

#if defined(__x86_64__)
constexpr bool bit(unsigned value, int index) { return (value >> index & 1u) != 0; }

// Register state the operating system saves (XCR0): 0x06 for XMM and YMM, 0xe0 more for masks and
// ZMM. Without it AVX instructions fault however good the CPU is.
unsigned saved_state() {
  unsigned low, high;
  asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// Whether the system lets this process use tiles: Linux saves their 8 KB only for processes that
/// asked (Documentation/arch/x86/xstate.rst). It refuses where it does not know them, and where a
/// thread has a signal stack too small for them.
bool may_use_tiles() {
#if defined(__linux__)
  constexpr long kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;               // its bit in XCR0
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

Isa best_isa() {
  unsigned a, b, c, d;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return Isa::kPortable;
  const bool fma = bit(c, 12), osxsave = bit(c, 27), avx = bit(c, 28), f16c = bit(c, 29);
  if (!osxsave || !avx || (saved_state() & 0x06u) != 0x06u) return Isa::kPortable;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::kPortable;
  if (!(bit(b, 5) && fma && f16c)) return Isa::kPortable;  // AVX2
  const bool f = bit(b, 16), dq = bit(b, 17), bw = bit(b, 30), vl = bit(b, 31);
  if (!(f && dq && bw && vl) || (saved_state() & 0xe6u) != 0xe6u) return Isa::kAvx2;
  const bool vnni = bit(c, 11);
  if (!vnni || __get_cpuid_count(7, 1, &a, &b, &c, &d) == 0 || !bit(a, 5)) return Isa::kAvx512;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return Isa::kAvx512Bf16;
  const bool amx = bit(d, 22) && bit(d, 24) && bit(d, 25);  // AMX-BF16, AMX-TILE, AMX-INT8
  if (!amx || (saved_state() & 0x60000u) != 0x60000u || !may_use_tiles()) return Isa::kAvx512Bf16;
  return Isa::kAmx;
}
#else
Isa best_isa() { return Isa::kPortable; }
#endif

const KernelTable& table_of(Isa isa) {
  switch (isa) {
#if defined(__x86_64__)
    case Isa::kAvx2:
      return avx2_table();
    case Isa::kAvx512:
      return avx512_table();
    case Isa::kAvx512Bf16:
      return avx512bf16_table();
    case Isa::kAmx:
      return amx_table();
#endif
    default:
      return portable_table();
  }
}

bool supported(Isa isa) noexcept { return isa <= supported_isas().back(); }

std::string names(std::span<const Isa> isas) {
  std::string out;
  for (const Isa isa : isas) {
    if (!out.empty()) out += ", ";
    out += isa_name(isa);
  }
  return out;
}

// The last of supported_isas(), or what REELM_ISA says.
const KernelTable* initial_table() {
  const char* wanted = std::getenv("REELM_ISA");
  if (wanted == nullptr || *wanted == '\0') return &table_of(supported_isas().back());
  for (const Isa isa : kAllIsas) {
    if (isa_name(isa) != wanted) continue;
    if (supported(isa)) return &table_of(isa);
    throw_error(ErrorCode::kInvalidArgument, "REELM_ISA: this machine lacks {} (it supports {})",
                wanted, names(supported_isas()));
  }
  throw_error(ErrorCode::kInvalidArgument, "REELM_ISA: unknown instruction set '{}' (known: {})",
              wanted, names(kAllIsas));
}

std::atomic<const KernelTable*> g_forced{nullptr};  // set_active_isa, set_table_for_testing
thread_local Isa t_last_run = Isa::kPortable;

const KernelTable& current_table() {
  const KernelTable* forced = g_forced.load(std::memory_order_acquire);
  if (forced != nullptr) return *forced;
  static const KernelTable* const initial = initial_table();  // a throw leaves it for the next call
  return *initial;
}

}  // namespace

std::string_view isa_name(Isa isa) noexcept {
  switch (isa) {
    case Isa::kPortable:
      return "portable";
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512bf16";
    case Isa::kAmx:
      return "amx";
  }
  return "?";
}

std::span<const Isa> supported_isas() noexcept {
  static const std::size_t count = static_cast<std::size_t>(best_isa()) + 1;
  return std::span(kAllIsas).first(count);
}

Isa active_isa() { return static_cast<Isa>(current_table().isa); }

void set_active_isa(Isa isa) {
  if (!supported(isa)) {
    throw_error(ErrorCode::kUnsupported, "this machine lacks {} (it supports {})", isa_name(isa),
                names(supported_isas()));
  }
  g_forced.store(&table_of(isa), std::memory_order_release);
}

Isa last_isa_run() noexcept { return t_last_run; }

const KernelTable& use_table() {
  const KernelTable& table = current_table();
  t_last_run = static_cast<Isa>(table.isa);
  return table;
}

void set_table_for_testing(const KernelTable* table) {
  g_forced.store(table, std::memory_order_release);
}

bool table_is_native(const KernelTable& table) noexcept {
  return &table == &table_of(static_cast<Isa>(table.isa)) && supported(static_cast<Isa>(table.isa));
}

float* scratch_floats(Scratch slot, std::size_t size) {
  thread_local std::array<AlignedBuffer<float>, static_cast<std::size_t>(Scratch::kCount)> buffers;
  AlignedBuffer<float>& buffer = buffers[static_cast<std::size_t>(slot)];
  buffer.reserve(size);
  return buffer.data();
}

}  // namespace reelm::kernels
