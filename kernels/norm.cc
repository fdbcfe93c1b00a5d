#include "kernels/norm.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

using NormFn = void (*)(const NormArgs&, std::int64_t, std::int64_t);

void run(NormFn norm, const NormArgs& args, std::int64_t rows) {
  // 16K elements take about 4 us: less is not worth waking a thread for.
  const std::int64_t grain = std::max<std::int64_t>(1, 16384 / std::max<std::int64_t>(args.d, 1));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end) { norm(args, begin, end); });
}

void check_rows(TensorView<const float> x, TensorView<float> y) {
  REELM_CHECK(x.rank() == 2 && y.rank() == 2);
  REELM_CHECK(x.size(0) == y.size(0) && x.size(1) == y.size(1));
  REELM_CHECK(x.size(1) <= 1 || (x.stride(1) == 1 && y.stride(1) == 1));
}

NormArgs plain_args(TensorView<const float> x, const float* weight, const float* bias, float eps,
                    TensorView<float> y) {
  check_rows(x, y);
  // Nothing is written through x when there is no delta.
  return {.x = const_cast<float*>(x.data()),
          .x_stride = x.stride(0),
          .delta = nullptr,
          .delta_stride = 0,
          .weight = weight,
          .bias = bias,
          .eps = eps,
          .y = y.data(),
          .y_stride = y.stride(0),
          .d = x.size(1)};
}

NormArgs add_args(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  const float* bias, float eps, TensorView<float> y) {
  check_rows(delta, residual);
  NormArgs args = plain_args(residual, weight, bias, eps, y);
  args.delta = delta.data();
  args.delta_stride = delta.stride(0);
  return args;
}

}  // namespace

void rms_norm(TensorView<const float> x, const float* weight, float eps, TensorView<float> y) {
  run(use_table().rms_norm, plain_args(x, weight, nullptr, eps, y), x.size(0));
}

void add_rms_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  float eps, TensorView<float> y) {
  run(use_table().rms_norm, add_args(residual, delta, weight, nullptr, eps, y), y.size(0));
}

void layer_norm(TensorView<const float> x, const float* weight, const float* bias, float eps,
                TensorView<float> y) {
  run(use_table().layer_norm, plain_args(x, weight, bias, eps, y), x.size(0));
}

void add_layer_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                    const float* bias, float eps, TensorView<float> y) {
  run(use_table().layer_norm, add_args(residual, delta, weight, bias, eps, y), y.size(0));
}

}  // namespace reelm::kernels
