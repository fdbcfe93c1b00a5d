// Attention as a library of matrix products would do it: all scores of a block of rows, their
// softmax, all sums. To compare with: it writes and reads [rows, n_k] scores.
#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include <algorithm>

#include "core/parallel.h"
#include "kernels/attention_impl.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

constexpr std::int64_t kBlockRows = 128;

/// Keys or values of one head in f32: as they are, or widened into `room` [n, head_dim].
struct Floats {
  const float* data;
  std::int64_t row;
};

Floats widen(const KernelTable& table, const AttentionArgs& args, const KvArgs& kv,
             std::int64_t kv_head, std::int64_t n, float* room) {
  const std::int64_t d = args.head_dim, head = kv_head * kv.head;
  if (args.kv_type == kElementF32) return {static_cast<const float*>(kv.data) + head, kv.row};
  for (std::int64_t j = 0; j < n; ++j) {
    float* to = room + j * d;
    const std::int64_t offset = head + j * kv.row;
    if (args.kv_type == kElementBf16) {
      table.bf16_to_f32(static_cast<const std::uint16_t*>(kv.data) + offset, to, d);
      continue;
    }
    const auto* from = static_cast<const std::int8_t*>(kv.data) + offset;
    const float scale = kv.scales[kv_head * kv.scale_head + j * kv.scale_row];
    for (std::int64_t i = 0; i < d; ++i) to[i] = scale * static_cast<float>(from[i]);
  }
  return {room, d};
}

/// oneDNN computes in the calling thread while this lives: blocks are what threads share, and a
/// product cut by the number of threads could sum in another order.
class OneThread {
 public:
  OneThread() : before_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneThread() { omp_set_num_threads(before_); }
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  const int before_;
};

void zero_rows(const AttentionArgs& args, float* out, std::int64_t rows) {
  for (std::int64_t r = 0; r < rows; ++r) std::fill_n(out + r * args.out_row, args.head_dim, 0.0f);
}

/// Query rows [begin, end) of one head.
void run_block(const KernelTable& table, const AttentionArgs& args, std::int64_t head,
               std::int64_t begin, std::int64_t end) {
  const std::int64_t rows = end - begin, d = args.head_dim;
  const std::int64_t kv_head = head / (args.heads / args.kv_heads);
  const std::int64_t hidden = args.causal ? args.n_q - end : 0;  // keys no row of the block sees
  const std::int64_t n = std::max(args.n_k - hidden, std::int64_t{0});
  const std::int64_t n_pad = (n + 15) / 16 * 16;
  float* out = args.out + begin * args.out_row + head * args.out_head;
  if (n == 0) return zero_rows(args, out, rows);

  const std::int64_t wide = args.kv_type == kElementF32 ? 0 : n * d;
  float* scores =
      scratch_floats(Scratch::kKernel, static_cast<std::size_t>(kBlockRows * n_pad + 2 * wide));
  const Floats k = widen(table, args, args.k, kv_head, n, scores + kBlockRows * n_pad);
  const Floats v = widen(table, args, args.v, kv_head, n, scores + kBlockRows * n_pad + wide);
  // dnnl_sgemm fails for arguments only that attention_supports() has looked at.
  dnnl_sgemm('N', 'T', rows, n, d, args.scale * kLog2E,
             args.q + begin * args.q_row + head * args.q_head, args.q_row, k.data, k.row, 0.0f,
             scores, n_pad);
  float totals[kBlockRows];
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int64_t seen = args.causal ? args.n_k - args.n_q + begin + r + 1 : n;
    table.soften(scores + r * n_pad, std::clamp(seen, std::int64_t{0}, n), n, totals + r);
  }
  dnnl_sgemm('N', 'N', rows, d, n, 1.0f, scores, n_pad, v.data, v.row, 0.0f, out, args.out_row);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float factor = totals[r] > 0.0f ? 1.0f / totals[r] : 0.0f;
    for (std::int64_t i = 0; i < d; ++i) out[r * args.out_row + i] *= factor;
  }
}

}  // namespace

void run_attention_matmul(const KernelTable& table, const Sequences& sequences) {
  for (std::int64_t s = 0; s < sequences.count; ++s) {
    const AttentionArgs args = sequences.part(s);
    const std::int64_t blocks = (args.n_q + kBlockRows - 1) / kBlockRows;
    parallel_for(blocks * args.heads, 1, [&](std::int64_t begin, std::int64_t end) {
      const OneThread one;
      for (std::int64_t task = begin; task < end; ++task) {
        const std::int64_t row = task % blocks * kBlockRows;
        run_block(table, args, task / blocks, row, std::min(args.n_q, row + kBlockRows));
      }
    });
  }
}

}  // namespace reelm::kernels
