// The registers of AVX-512 with the dot products of bf16 (AVX512_BF16) and of bytes (AVX512_VNNI):
// every CPU that has the first has the second.
#pragma once

#ifndef REELM_AVX512_NAMESPACE  // amx/ names its own
#ifdef REELM_EMULATE_AVX512
#define REELM_AVX512_NAMESPACE avx512bf16_emulated
#else
#define REELM_AVX512_NAMESPACE avx512bf16
#endif
#endif

#include "../avx512/vec.h"

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

struct DotVec : Vec {
  static constexpr int kIsa = 3;
  static constexpr bool kHasDot = true;
  static F dot_pairs(F sum, I a, I b) {
    return REELM_MM512(dpbf16_ps)(sum, as_pairs(a), as_pairs(b));
  }
  static constexpr bool kHasDot8 = true;
  static S dot8(S sum, I u, I s) {
    return sums_of(REELM_MM512(dpbusd_epi32)(integers_of(sum), u, s));
  }
  /// As to_pairs for what is not subnormal (a softmax weight is 0 or at least 2^-126), in 2
  /// instructions instead of 20.
  static F to_pairs_number(F a, F b) {
    alignas(64) static constexpr uint16_t kInTurns[32] = {
        0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
        8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    const auto both = REELM_MM512(cvtne2ps_pbh)(b, a);  // a's 16, then b's
    I words;
    static_assert(sizeof(both) == sizeof(words));
    __builtin_memcpy(&words, &both, sizeof(words));
    return REELM_MM512(castsi512_ps)(
        REELM_MM512(permutexvar_epi16)(REELM_MM512(loadu_si512)(kInTurns), words));
  }

 private:
  static M512bh as_pairs(I v) {
    M512bh out;
    static_assert(sizeof(out) == sizeof(v));
    __builtin_memcpy(&out, &v, sizeof(v));
    return out;
  }
};

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
