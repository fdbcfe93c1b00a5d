#include "kernels/activation.h"

#include <algorithm>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

// Columns of one piece of work: one decoded token has a single row of 8,960.
constexpr std::int64_t kColumns = 2048;
// Pieces a thread takes at least: an exponential costs about 1 ns, waking a thread 2 to 5 us.
constexpr std::int64_t kGrain = 4;

// fn(row, column, count) over all pieces of [rows, columns].
template <typename Fn>
void for_pieces(std::int64_t rows, std::int64_t columns, Fn&& fn) {
  const std::int64_t per_row = (columns + kColumns - 1) / kColumns;
  parallel_for(rows * per_row, kGrain, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t column = piece % per_row * kColumns;
      fn(piece / per_row, column, std::min(kColumns, columns - column));
    }
  });
}

void in_place(void (*fn)(float*, std::int64_t), TensorView<float> x) {
  REELM_CHECK(x.rank() == 2 && (x.size(1) <= 1 || x.stride(1) == 1));
  for_pieces(x.size(0), x.size(1), [&](std::int64_t row, std::int64_t column, std::int64_t count) {
    fn(x.row(row) + column, count);
  });
}

}  // namespace

void silu_mul(TensorView<const float> x, TensorView<float> y) {
  REELM_CHECK(x.rank() == 2 && y.rank() == 2);
  REELM_CHECK(x.size(0) == y.size(0) && x.size(1) == 2 * y.size(1));
  REELM_CHECK(y.size(1) == 0 || (x.stride(1) == 1 && (y.size(1) == 1 || y.stride(1) == 1)));
  const KernelTable& table = use_table();
  const std::int64_t d = y.size(1);
  for_pieces(y.size(0), d, [&](std::int64_t row, std::int64_t column, std::int64_t count) {
    const float* gate = x.row(row) + column;
    table.silu_mul(gate, gate + d, y.row(row) + column, count);
  });
}

void quick_gelu(TensorView<float> x) { in_place(use_table().quick_gelu, x); }

void gelu(TensorView<float> x) { in_place(use_table().gelu, x); }

void gelu_tanh(TensorView<float> x) { in_place(use_table().gelu_tanh, x); }

}  // namespace reelm::kernels
