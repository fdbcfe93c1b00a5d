#include "bench/ladder/tensor.h"

#include <algorithm>

namespace reelm::bench {

Tensor linear(const layers::Linear& layer, TensorView<const float> x, Counters& counters,
              kernels::Activation activation) {
  Tensor out(x.size(0), layer.out_features(), counters);
  layer.forward(x, out.view(), activation);
  return out;
}

Tensor add(const Tensor& a, const Tensor& b, Counters& counters) {
  REELM_CHECK(a.rows() == b.rows() && a.width() == b.width());
  ++counters.separate_adds;
  Tensor out(a.rows(), a.width(), counters);
  const std::int64_t n = a.rows() * a.width();
  for (std::int64_t i = 0; i < n; ++i) out.row(0)[i] = a.row(0)[i] + b.row(0)[i];
  return out;
}

Tensor last_row(const Tensor& x, Counters& counters) {
  Tensor out(1, x.width(), counters);
  std::copy_n(x.row(x.rows() - 1), x.width(), out.row(0));
  return out;
}

}  // namespace reelm::bench
