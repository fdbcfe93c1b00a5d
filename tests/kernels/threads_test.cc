// Results are bitwise equal for any number of threads.
#include <functional>

#include "core/parallel.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

class Threads : public KernelTest {
 protected:
  void TearDown() override {
    set_num_threads(0);
    KernelTest::TearDown();
  }
};
REELM_KERNEL_TEST_SUITE(Threads);

void expect_same(const std::function<std::vector<float>()>& run) {
  set_num_threads(1);
  const std::vector<float> alone = run();
  for (const int threads : {2, 3, 5}) {
    set_num_threads(threads);
    EXPECT_TRUE(reelm::testing::all_equal_bits(run(), alone)) << threads << " threads";
  }
}

TEST_P(Threads, Matmul) {
  const std::vector<float> weight = random_floats(300 * 600, 1);
  const std::vector<float> bias = random_floats(300, 2);
  for (const ComputeType type : {ComputeType::kF32, ComputeType::kBF16}) {
    const PackedMatrix packed(StoredMatrix{weight.data(), DType::kF32, 300, 600}, type);
    for (const std::int64_t m : {1, 3, 9, 40, 260}) {
      const std::vector<float> x = random_floats(m * 600, 3);
      expect_same([&] {
        std::vector<float> y = random_floats(m * 300, 4);
        matmul({x.data(), {m, 600}}, packed, {y.data(), {m, 300}},
               {.bias = bias.data(), .activation = Activation::kQuickGelu, .accumulate = true});
        return y;
      });
    }
  }
}

TEST_P(Threads, Attention) {
  for (const auto& [n_q, n_k] : {std::pair<std::int64_t, std::int64_t>{1, 1300}, {150, 400}}) {
    const std::vector<float> q = random_floats(n_q * 6 * 64, 1), k = random_floats(n_k * 2 * 64, 2),
                             v = random_floats(n_k * 2 * 64, 3);
    expect_same([&, n_q = n_q, n_k = n_k] {
      std::vector<float> out(q.size());
      attention({q.data(), {n_q, 6, 64}}, TensorView<const float>(k.data(), {n_k, 2, 64}),
                TensorView<const float>(v.data(), {n_k, 2, 64}), {out.data(), {n_q, 6, 64}}, 0.125f,
                true);
      return out;
    });
  }
}

TEST_P(Threads, Varlen) {
  const std::vector<std::int64_t> cu_seqlens = {0, 200, 200, 410, 411, 600};
  const std::vector<float> q = random_floats(600 * 2 * 80, 1);
  expect_same([&] {
    std::vector<float> out(q.size());
    const TensorView<const float> in(q.data(), {600, 2, 80});
    attention_forward_varlen(in, in, in, {out.data(), {600, 2, 80}}, cu_seqlens, cu_seqlens, 0.1f,
                             /*causal=*/false);
    return out;
  });
}

TEST_P(Threads, RowKernels) {
  const std::int64_t m = 70, d = 1000;
  const std::vector<float> weight = random_floats(d, 1), delta = random_floats(m * d, 2);
  expect_same([&] {
    std::vector<float> x = random_floats(m * d, 3), y(x.size());
    add_rms_norm({x.data(), {m, d}}, {delta.data(), {m, d}}, weight.data(), 1e-6f,
                 {y.data(), {m, d}});
    add_layer_norm({x.data(), {m, d}}, {y.data(), {m, d}}, weight.data(), weight.data(), 1e-6f,
                   {y.data(), {m, d}});
    gelu({y.data(), {m, d}});
    silu_mul({y.data(), {m, d}}, {y.data(), {m, d / 2}, {d, 1}});
    const std::vector<float> angles = random_floats(m * 50, 4);
    rotary({y.data(), {m, 10, 100}}, {angles.data(), {m, 50}}, {angles.data(), {m, 50}});
    return y;
  });
}

}  // namespace
}  // namespace reelm::kernels
