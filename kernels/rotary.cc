#include "kernels/rotary.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/timeline.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

void rotary(TensorView<float> x, TensorView<const float> cos, TensorView<const float> sin) {
  REELM_CHECK(x.rank() == 3 && cos.rank() == 2 && sin.rank() == 2);
  REELM_CHECK(x.size(2) % 2 == 0 && cos.size(1) == x.size(2) / 2 && sin.size(1) == cos.size(1));
  REELM_CHECK(cos.size(0) == x.size(0) && sin.size(0) == x.size(0));
  REELM_CHECK(cos.stride(0) == sin.stride(0) && x.stride(2) == 1);
  const KernelTable& table = use_table();
  TimelineSpan span("rotary", SpanKind::kKernel);
  const RotaryArgs args = {.x = x.data(),
                           .row_stride = x.stride(0),
                           .head_stride = x.stride(1),
                           .heads = x.size(1),
                           .head_dim = x.size(2),
                           .cos = cos.data(),
                           .sin = sin.data(),
                           .angle_stride = cos.stride(0)};
  const std::int64_t per_row = std::max<std::int64_t>(1, x.size(1) * x.size(2));
  parallel_for(x.size(0), std::max<std::int64_t>(1, 16384 / per_row),
               [&](std::int64_t begin, std::int64_t end) { table.rotary(args, begin, end); });
  if (span.recorded()) {  // 4 products and 2 sums a pair
    const std::int64_t elements = x.size(0) * per_row;
    span.tell({.shape = {{{"rows", x.size(0)}, {"heads", x.size(1)}, {"head_dim", x.size(2)}}},
               .dtype = "f32",
               .isa = isa_name(static_cast<Isa>(table.isa)).data(),
               .flop = 3 * elements,
               .bytes = 2 * elements * 4 + x.size(0) * x.size(2) * 4});
  }
}

}  // namespace reelm::kernels
