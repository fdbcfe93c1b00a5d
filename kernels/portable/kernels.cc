// The kernels of simd/ for any machine.
#include "../simd/make_table.h"
#include "vec.h"

namespace reelm::kernels {

const KernelTable& portable_table() { return kTableOf<portable::Vec>; }

}  // namespace reelm::kernels
