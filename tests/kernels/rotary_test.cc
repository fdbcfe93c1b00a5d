#include "kernels/rotary.h"

#include "kernels/reference/reference.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/support/compare.h"

namespace reelm::kernels {
namespace {

class Rotary : public KernelTest {};
REELM_KERNEL_TEST_SUITE(Rotary);

TEST_P(Rotary, HeadsInsideAWiderRow) {
  for (const std::int64_t head_dim : {2, 8, 30, 64, 80, 128}) {
    for (const std::int64_t n : {0, 1, 2, 33}) {
      for (const std::int64_t heads : {1, 3, 12}) {
        const std::int64_t stride = heads * (head_dim + 3) + 7;
        std::vector<float> x = random_floats(n * stride + 1, 1), expected = x;
        const std::vector<float> cos = random_floats(n * head_dim / 2, 2),
                                 sin = random_floats(n * head_dim / 2, 3);
        const auto view = [&](std::vector<float>& v) {
          return TensorView<float>(v.data() + 1, {n, heads, head_dim}, {stride, head_dim + 3, 1});
        };
        const TensorView<const float> c(cos.data(), {n, head_dim / 2}),
            s(sin.data(), {n, head_dim / 2});
        rotary(view(x), c, s);
        reference::rotary(view(expected), c, s);
        EXPECT_TRUE(reelm::testing::all_close(x, expected, {.atol = 1e-6}))
            << "head_dim " << head_dim << " n " << n << " heads " << heads;
      }
    }
  }
}

}  // namespace
}  // namespace reelm::kernels
