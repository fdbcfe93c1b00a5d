#include "kernels/attention.h"

#include <algorithm>

#include "core/parallel.h"
#include "core/timeline.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

template <typename T>
KvArgs kv_args(TensorView<const T> x) {
  return {x.data(), x.stride(0), x.stride(1), nullptr, 0, 0};
}
KvArgs kv_args(const Int8Heads& x) {
  REELM_CHECK(x.scales.rank() == 2 && x.scales.size(0) == x.values.size(0) &&
              x.scales.size(1) == x.values.size(1));
  return {x.values.data(), x.values.stride(0), x.values.stride(1),
          x.scales.data(), x.scales.stride(0), x.scales.stride(1)};
}

// k and v are the views of the elements, as stored.
template <typename T>
void check_shapes(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                  TensorView<float> out) {
  REELM_CHECK(q.rank() == 3 && k.rank() == 3 && v.rank() == 3 && out.rank() == 3);
  for (int d = 0; d < 3; ++d) REELM_CHECK(out.size(d) == q.size(d) && v.size(d) == k.size(d));
  REELM_CHECK(q.size(2) == k.size(2));
  REELM_CHECK(k.size(1) > 0 && q.size(1) % k.size(1) == 0);
  REELM_CHECK(q.size(2) <= 1 ||
              (q.stride(2) == 1 && k.stride(2) == 1 && v.stride(2) == 1 && out.stride(2) == 1));
}

// All but k, v and their type.
AttentionArgs make_args(TensorView<const float> q, TensorView<float> out, std::int64_t n_k,
                        std::int64_t kv_heads, float scale, bool causal, ComputeType math) {
  return {.q = q.data(),
          .q_row = q.stride(0),
          .q_head = q.stride(1),
          .k = {},
          .v = {},
          .kv_type = kElementF32,
          .out = out.data(),
          .out_row = out.stride(0),
          .out_head = out.stride(1),
          .n_q = q.size(0),
          .n_k = n_k,
          .heads = q.size(1),
          .kv_heads = kv_heads,
          .head_dim = q.size(2),
          .scale = scale,
          .causal = causal,
          .bf16_math = math == ComputeType::kBF16};
}

template <typename T>
AttentionArgs make_args(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                        TensorView<float> out, float scale, bool causal, ComputeType math) {
  check_shapes(q, k, v, out);
  AttentionArgs args = make_args(q, out, k.size(0), k.size(1), scale, causal, math);
  args.k = kv_args(k);
  args.v = kv_args(v);
  args.kv_type = sizeof(T) == 4 ? kElementF32 : kElementBf16;
  return args;
}

std::int64_t tiles_of(const AttentionArgs& args) {
  const std::int64_t rows = args.n_q * (args.heads / args.kv_heads);
  return (rows + kAttentionRows - 1) / kAttentionRows;
}

// 0, n-1, 1, n-2, ...: under a causal mask late tiles see more keys; so folded, any contiguous
// share of a thread holds about as many long tiles as short ones.
std::int64_t folded(std::int64_t i, std::int64_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

void run_tile(const KernelTable& table, const AttentionArgs& args, std::int64_t kv_head,
              std::int64_t tile) {
  const std::int64_t rows = args.n_q * (args.heads / args.kv_heads);
  const std::int64_t begin = tile * kAttentionRows;
  float* scratch = scratch_floats(
      Scratch::kKernel, static_cast<std::size_t>(attention_scratch_floats(args.head_dim)));
  table.attention_tile(args, kv_head, begin, std::min(rows, begin + kAttentionRows), scratch);
}

void run_tiles(const KernelTable& table, const AttentionArgs& args) {
  const std::int64_t tiles = tiles_of(args);
  parallel_for(tiles * args.kv_heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      run_tile(table, args, task / tiles, folded(task % tiles, tiles));
    }
  });
}

// Few rows: chunks of keys in parallel, then joined in order.
void run_chunks(const KernelTable& table, const AttentionArgs& args) {
  const std::int64_t rows = args.n_q * (args.heads / args.kv_heads);
  const std::int64_t chunks = (args.n_k + kDecodeKeys - 1) / kDecodeKeys;
  const std::int64_t step = attention_partial_floats(rows, args.head_dim);
  const std::int64_t tasks = chunks * args.kv_heads;
  float* partial = scratch_floats(Scratch::kPartial, static_cast<std::size_t>(tasks * step));
  // A chunk of 64 keys is about 2 us; fewer are not worth a second thread.
  const std::int64_t grain = args.n_k < 64 ? tasks : 1;
  parallel_for(tasks, grain, [&](std::int64_t begin, std::int64_t end) {
    float* scratch = scratch_floats(
        Scratch::kKernel, static_cast<std::size_t>(attention_chunk_scratch_floats(args.head_dim)));
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t key = task % chunks * kDecodeKeys;
      table.attention_chunk(args, task / chunks, key, std::min(args.n_k, key + kDecodeKeys),
                            partial + task * step, scratch);
    }
  });
  for (std::int64_t kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
    table.attention_join(args, kv_head, chunks, partial + kv_head * chunks * step);
  }
}

/// `pairs`: of queries and the keys they attend to. Scores and their mixing take 2 operations an
/// element each.
SpanFacts facts_of(const KernelTable& table, const AttentionArgs& args, std::int64_t pairs,
                   const char* kernel) {
  const bool int8 = args.kv_type == kElementInt8, bf16 = args.kv_type == kElementBf16;
  const std::int64_t row_bytes =
      int8 ? args.head_dim + 4 : args.head_dim * static_cast<std::int64_t>(bf16 ? 2 : 4);
  return {.shape = {{{"n_q", args.n_q},
                     {"n_k", args.n_k},
                     {"heads", args.heads},
                     {"kv_heads", args.kv_heads},
                     {"head_dim", args.head_dim}}},
          .dtype = int8   ? "int8"
                   : bf16 ? "bf16"
                          : "f32",
          .kernel = kernel,
          .isa = isa_name(static_cast<Isa>(table.isa)).data(),
          .flop = 4 * pairs * args.heads * args.head_dim,
          .bytes = 2 * args.n_q * args.heads * args.head_dim * 4 +
                   2 * args.n_k * args.kv_heads * row_bytes};
}

void run(const AttentionArgs& args) {
  const KernelTable& table = use_table();
  if (args.n_q == 0 || args.heads == 0 || args.head_dim == 0) return;
  TimelineSpan span("attention", SpanKind::kKernel);
  const std::int64_t rows = args.n_q * (args.heads / args.kv_heads);
  // The streaming path reads whole registers of a head.
  const bool chunks = rows <= kDecodeRows && args.head_dim % table.width == 0 && args.n_k > 0;
  if (chunks) {
    run_chunks(table, args);
  } else {
    run_tiles(table, args);
  }
  if (span.recorded()) {
    const std::int64_t masked = args.causal ? args.n_q * (args.n_q - 1) / 2 : 0;
    span.tell(facts_of(table, args, args.n_q * args.n_k - masked, chunks ? "chunks" : "tiles"));
  }
}

}  // namespace

void attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  run(make_args(q, k, v, out, scale, causal, math));
}

void attention(TensorView<const float> q, TensorView<const bf16_t> k, TensorView<const bf16_t> v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  run(make_args(q, k, v, out, scale, causal, math));
}

void attention(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  check_shapes(q, k.values, v.values, out);
  AttentionArgs args = make_args(q, out, k.values.size(0), k.values.size(1), scale, causal, math);
  args.k = kv_args(k);
  args.v = kv_args(v);
  args.kv_type = kElementInt8;
  run(args);
}

void attention_varlen(TensorView<const float> q, TensorView<const float> k,
                      TensorView<const float> v, TensorView<float> out,
                      std::span<const std::int64_t> cu_seqlens, float scale, ComputeType math) {
  const AttentionArgs all = make_args(q, k, v, out, scale, false, math);
  const KernelTable& table = use_table();
  REELM_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == all.n_q &&
              all.n_q == all.n_k);
  const auto part = [&](std::size_t s) {
    AttentionArgs args = all;
    args.n_q = args.n_k = cu_seqlens[s + 1] - cu_seqlens[s];
    REELM_CHECK(args.n_q >= 0);
    args.q += cu_seqlens[s] * args.q_row;
    args.k.data = k.data() + cu_seqlens[s] * args.k.row;
    args.v.data = v.data() + cu_seqlens[s] * args.v.row;
    args.out += cu_seqlens[s] * args.out_row;
    return args;
  };
  TimelineSpan span("attention", SpanKind::kKernel);
  std::int64_t tasks = 0, pairs = 0;
  for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    const AttentionArgs args = part(s);
    tasks += tiles_of(args);
    pairs += args.n_q * args.n_k;
  }
  if (span.recorded()) span.tell(facts_of(table, all, pairs, "varlen_tiles"));
  // Tasks are (tile of any sequence, head), heads innermost: a thread's share of tiles then covers
  // whole sequences, whose rows lie close together.
  tasks *= all.kv_heads;
  parallel_for(tasks, 1, [&](std::int64_t begin, std::int64_t end) {
    std::int64_t first = 0;  // first task of sequence s
    for (std::size_t s = 0; s + 1 < cu_seqlens.size() && first < end; ++s) {
      const AttentionArgs args = part(s);
      const std::int64_t count = tiles_of(args) * args.kv_heads;
      for (std::int64_t task = std::max(begin, first); task < std::min(end, first + count);
           ++task) {
        const std::int64_t i = task - first;
        run_tile(table, args, i % args.kv_heads, i / args.kv_heads);
      }
      first += count;
    }
  });
}

}  // namespace reelm::kernels
