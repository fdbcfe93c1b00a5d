#include <cstdlib>
#include <string>

#include "core/throw.h"
#include "preprocess/resize.h"
#include "preprocess/vector_loops.h"

namespace reelm::preprocess {
namespace {

constexpr VectorIsa kAll[] = {VectorIsa::kPortable, VectorIsa::kAvx2, VectorIsa::kAvx512};

// __builtin_cpu_supports asks CPUID and, for the wide registers, whether the OS saves them.
std::size_t count_supported() noexcept {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return 1;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  return avx512 ? 3 : 2;
#else
  return 1;
#endif
}

VectorIsa choose_isa() {
  const std::span<const VectorIsa> supported = supported_vector_isas();
  const char* forced = std::getenv("REELM_ISA");
  if (forced == nullptr || *forced == '\0') return supported.back();
  const std::string name = forced;
  // kernels/isa.h knows more sets; these loops have nothing to gain from BF16 and tiles.
  const std::string wanted = name == "avx512bf16" || name == "amx" ? "avx512" : name;
  for (const VectorIsa isa : kAll) {
    if (vector_isa_name(isa) != wanted) continue;
    for (const VectorIsa have : supported) {
      if (have == isa) return isa;
    }
    throw_error(ErrorCode::kInvalidArgument,
                "REELM_ISA={}: this machine lacks it; it runs up to {}", name,
                vector_isa_name(supported.back()));
  }
  throw_error(ErrorCode::kInvalidArgument,
              "REELM_ISA={}: unknown; expected portable, avx2, avx512, avx512bf16 or amx", name);
}

}  // namespace

std::string_view vector_isa_name(VectorIsa isa) noexcept {
  switch (isa) {
    case VectorIsa::kPortable:
      return "portable";
    case VectorIsa::kAvx2:
      return "avx2";
    case VectorIsa::kAvx512:
      return "avx512";
  }
  return "?";
}

std::span<const VectorIsa> supported_vector_isas() noexcept {
  static const std::size_t n = count_supported();
  return std::span(kAll).first(n);
}

VectorIsa active_vector_isa() {
  static const VectorIsa isa = choose_isa();
  return isa;
}

const vector::Loops& loops_of(VectorIsa isa) {
  for (const VectorIsa have : supported_vector_isas()) {
    if (have != isa) continue;
#if defined(__x86_64__)
    if (isa == VectorIsa::kAvx512) return vector::kAvx512Loops;
    if (isa == VectorIsa::kAvx2) return vector::kAvx2Loops;
#endif
    return vector::kPortableLoops;
  }
  throw_error(ErrorCode::kUnsupported, "instruction set {}: this machine lacks it",
              vector_isa_name(isa));
}

}  // namespace reelm::preprocess
