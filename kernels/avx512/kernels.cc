// The kernels of simd/ for AVX-512 F, BW, DQ, VL.
#include "../simd/make_table.h"
#include "vec.h"

namespace reelm::kernels {

#ifdef REELM_EMULATE_AVX512
const KernelTable& avx512_emulated_table() { return kTableOf<avx512_emulated::Vec>; }
#else
const KernelTable& avx512_table() { return kTableOf<avx512::Vec>; }
#endif

}  // namespace reelm::kernels
