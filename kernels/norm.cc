#include "kernels/norm.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/timeline.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

// 16K elements take about 4 us: less is not worth waking a thread for.
constexpr std::int64_t kGrainElements = 16384;

using NormFn = void (*)(const NormArgs&, std::int64_t, std::int64_t);

/// Operations an element, what is shared by a row not counted: RMSNorm squares, sums, scales twice;
/// LayerNorm also has a mean to subtract and a shift. The sum with `delta` is one more.
SpanFacts facts_of(const NormArgs& args, std::int64_t rows) {
  const std::int64_t elements = rows * args.d;
  const bool sum = args.delta != nullptr;
  return {.shape = {{{"rows", rows}, {"dim", args.d}}},
          .dtype = "f32",
          .isa = isa_name(last_isa_run()).data(),
          .flop = elements * ((args.bias != nullptr ? 8 : 4) + (sum ? 1 : 0)),
          .bytes = elements * 4 * (sum ? 4 : 2)};
}

void run(const char* name, NormFn norm, const NormArgs& args, std::int64_t rows) {
  TimelineSpan span(name, SpanKind::kKernel);
  if (span.recorded()) span.tell(facts_of(args, rows));
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrainElements / std::max<std::int64_t>(args.d, 1));
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
  run("rms_norm", use_table().rms_norm, plain_args(x, weight, nullptr, eps, y), x.size(0));
}

void add_rms_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  float eps, TensorView<float> y) {
  run("add_rms_norm", use_table().rms_norm, add_args(residual, delta, weight, nullptr, eps, y),
      y.size(0));
}

void head_rms_norm(TensorView<float> x, const float* weight, float eps) {
  REELM_CHECK(x.rank() == 3 && (x.size(2) <= 1 || x.stride(2) == 1));
  const NormFn norm = use_table().rms_norm;
  const std::int64_t rows = x.size(0), heads = x.size(1), d = x.size(2);
  const auto args_of = [&](std::int64_t row) {
    const TensorView<float> view(x.row(row), {heads, d}, {x.stride(1), 1});
    return plain_args(view, weight, nullptr, eps, view);
  };
  TimelineSpan span("head_rms_norm", SpanKind::kKernel);
  if (span.recorded() && rows > 0) span.tell(facts_of(args_of(0), rows * heads));
  const std::int64_t per_row = std::max<std::int64_t>(1, heads * d);
  parallel_for(rows, std::max<std::int64_t>(1, kGrainElements / per_row),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin; row < end; ++row) norm(args_of(row), 0, heads);
               });
}

void layer_norm(TensorView<const float> x, const float* weight, const float* bias, float eps,
                TensorView<float> y) {
  run("layer_norm", use_table().layer_norm, plain_args(x, weight, bias, eps, y), x.size(0));
}

void add_layer_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                    const float* bias, float eps, TensorView<float> y) {
  run("add_layer_norm", use_table().layer_norm, add_args(residual, delta, weight, bias, eps, y),
      y.size(0));
}

}  // namespace reelm::kernels
