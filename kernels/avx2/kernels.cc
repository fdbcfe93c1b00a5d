// The kernels of simd/ for AVX2 + FMA + F16C.
#include "../simd/make_table.h"
#include "vec.h"

namespace reelm::kernels {

const KernelTable& avx2_table() { return kTableOf<avx2::Vec>; }

}  // namespace reelm::kernels
