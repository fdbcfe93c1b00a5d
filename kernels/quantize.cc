#include "kernels/quantize.h"

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

void quantize_rows(TensorView<const float> x, TensorView<std::int8_t> y, float* scales) {
  REELM_CHECK(x.rank() == 2 && y.rank() == 2 && x.size(0) == y.size(0) && x.size(1) == y.size(1));
  REELM_CHECK(x.size(1) <= 1 || (x.stride(1) == 1 && y.stride(1) == 1));
  const KernelTable& table = use_table();
  // A row of 128 takes about 20 ns; 256 of them are worth waking a thread.
  parallel_for(x.size(0), 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      table.quantize_row(x.row(i), x.size(1), y.row(i), scales + i);
    }
  });
}

}  // namespace reelm::kernels
