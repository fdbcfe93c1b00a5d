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
  /// As store_bf16 for what is not subnormal (a softmax weight is 0 or at least 2^-126), in 2
  /// instructions instead of 9.
  static void store_bf16_number(uint16_t* p, F v) {
    const auto rounded = REELM_MM512(cvtneps_pbh)(v);
    static_assert(sizeof(rounded) == 2 * kWidth);
    __builtin_memcpy(p, &rounded, sizeof(rounded));
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
