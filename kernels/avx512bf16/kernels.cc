// The kernels of simd/ for AVX-512 with AVX512_BF16.
#include "../simd/make_table.h"
#include "vec.h"

namespace reelm::kernels {

#ifdef REELM_EMULATE_AVX512
const KernelTable& avx512bf16_emulated_table() { return kTableOf<avx512bf16_emulated::DotVec>; }
#else
const KernelTable& avx512bf16_table() { return kTableOf<avx512bf16::DotVec>; }
#endif

}  // namespace reelm::kernels
