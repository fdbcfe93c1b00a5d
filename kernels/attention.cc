#include "kernels/attention.h"

#include <algorithm>

#include "core/timeline.h"
#include "kernels/attention_impl.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

/// The element type of keys or values, and their views: T is const float, const bf16_t or
/// Int8Heads.
constexpr int element_of(const TensorView<const float>&) { return kElementF32; }
constexpr int element_of(const TensorView<const bf16_t>&) { return kElementBf16; }
constexpr int element_of(const Int8Heads&) { return kElementInt8; }

template <typename T>
const TensorView<const T>& values_of(const TensorView<const T>& x) {
  return x;
}
const TensorView<const std::int8_t>& values_of(const Int8Heads& x) { return x.values; }

/// Of the sizes that come last: [..., n, kv_heads, head_dim].
template <typename T>
KvArgs kv_args(const TensorView<const T>& x) {
  const int n = x.rank() - 3;
  return {x.data(), x.stride(n), x.stride(n + 1), nullptr, 0, 0};
}
KvArgs kv_args(const Int8Heads& x) {
  const int n = x.values.rank() - 3;
  REELM_CHECK(x.scales.rank() == n + 2);
  for (int d = 0; d < n + 2; ++d) REELM_CHECK(x.scales.size(d) == x.values.size(d));
  KvArgs args = kv_args(x.values);
  args.scales = x.scales.data();
  args.scale_row = x.scales.stride(n);
  args.scale_head = x.scales.stride(n + 1);
  return args;
}

/// From one sequence of a batch to the next in the scales.
template <typename T>
std::int64_t scale_step(const TensorView<const T>&) {
  return 0;
}
std::int64_t scale_step(const Int8Heads& x) { return x.scales.stride(0); }

template <typename T>
void check_shapes(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                  TensorView<float> out, int rank) {
  REELM_CHECK(q.rank() == rank && k.rank() == rank && v.rank() == rank && out.rank() == rank);
  for (int d = 0; d < rank; ++d) REELM_CHECK(out.size(d) == q.size(d) && v.size(d) == k.size(d));
  const int last = rank - 1;
  REELM_CHECK(rank == 3 || q.size(0) == k.size(0));
  REELM_CHECK(q.size(last) == k.size(last));
  REELM_CHECK(k.size(last - 1) > 0 && q.size(last - 1) % k.size(last - 1) == 0);
  REELM_CHECK(q.size(last) <= 1 || (q.stride(last) == 1 && k.stride(last) == 1 &&
                                    v.stride(last) == 1 && out.stride(last) == 1));
}

/// One sequence of the views: all of it, or the first of a batch.
template <typename Kv>
AttentionArgs make_args(TensorView<const float> q, const Kv& k, const Kv& v, TensorView<float> out,
                        float scale, bool causal, ComputeType math, int rank) {
  check_shapes(q, values_of(k), values_of(v), out, rank);
  const int n = rank - 3;
  return {.q = q.data(),
          .q_row = q.stride(n),
          .q_head = q.stride(n + 1),
          .k = kv_args(k),
          .v = kv_args(v),
          .kv_type = element_of(k),
          .out = out.data(),
          .out_row = out.stride(n),
          .out_head = out.stride(n + 1),
          .n_q = q.size(n),
          .n_k = values_of(k).size(n),
          .heads = q.size(n + 1),
          .kv_heads = values_of(k).size(n + 1),
          .head_dim = q.size(n + 2),
          .scale = scale,
          .causal = causal,
          .bf16_math = math == ComputeType::kBF16,
          .tile = {}};
}

/// Scores and their mixing take 2 operations an element each.
SpanFacts facts_of(const KernelTable& table, const Sequences& sequences, std::int64_t n_q,
                   std::int64_t n_k, const char* kernel) {
  const AttentionArgs& args = sequences.all;
  const bool int8 = args.kv_type == kElementInt8, bf16 = args.kv_type == kElementBf16;
  const std::int64_t row_bytes =
      int8 ? args.head_dim + 4 : args.head_dim * static_cast<std::int64_t>(bf16 ? 2 : 4);
  return {.shape = {{{"n_q", n_q},
                     {"n_k", n_k},
                     {"heads", args.heads},
                     {"kv_heads", args.kv_heads},
                     {"head_dim", args.head_dim}}},
          .dtype = int8   ? "int8"
                   : bf16 ? "bf16"
                          : "f32",
          .kernel = kernel,
          .isa = isa_name(static_cast<Isa>(table.isa)).data(),
          .flop = 4 * sequences.pairs() * args.heads * args.head_dim,
          .bytes = 2 * n_q * args.heads * args.head_dim * 4 + 2 * n_k * args.kv_heads * row_bytes};
}

/// n_q, n_k: of all sequences together.
void run(const Sequences& sequences, std::int64_t n_q, std::int64_t n_k) {
  const KernelTable& table = use_table();
  if (n_q == 0 || sequences.all.heads == 0 || sequences.all.head_dim == 0) return;
  TimelineSpan span("attention", SpanKind::kKernel);
  const int choice = choose_attention(table, sequences);
  const AttentionCandidate& candidate = attention_candidates()[static_cast<std::size_t>(choice)];
  run_attention(table, candidate, sequences);
  if (span.recorded()) span.tell(facts_of(table, sequences, n_q, n_k, candidate.name));
}

template <typename Kv>
void run_one(TensorView<const float> q, const Kv& k, const Kv& v, TensorView<float> out,
             float scale, bool causal, ComputeType math) {
  Sequences sequences;
  sequences.all = make_args(q, k, v, out, scale, causal, math, 3);
  run(sequences, sequences.all.n_q, sequences.all.n_k);
}

template <typename Kv>
void run_batch(TensorView<const float> q, const Kv& k, const Kv& v, TensorView<float> out,
               float scale, bool causal, ComputeType math) {
  Sequences sequences;
  sequences.all = make_args(q, k, v, out, scale, causal, math, 4);
  sequences.count = q.size(0);
  sequences.step = {.q = q.stride(0),
                    .k = values_of(k).stride(0),
                    .v = values_of(v).stride(0),
                    .out = out.stride(0),
                    .k_scale = scale_step(k),
                    .v_scale = scale_step(v)};
  run(sequences, sequences.count * sequences.all.n_q, sequences.count * sequences.all.n_k);
}

/// The longest of the sequences, whose ends must be as they should.
std::int64_t longest(std::span<const std::int64_t> cu_seqlens, std::int64_t total) {
  REELM_CHECK(!cu_seqlens.empty() && cu_seqlens.front() == 0 && cu_seqlens.back() == total);
  std::int64_t out = 0;
  for (std::size_t s = 0; s + 1 < cu_seqlens.size(); ++s) {
    REELM_CHECK(cu_seqlens[s] <= cu_seqlens[s + 1]);
    out = std::max(out, cu_seqlens[s + 1] - cu_seqlens[s]);
  }
  return out;
}

template <typename Kv>
void run_varlen(TensorView<const float> q, const Kv& k, const Kv& v, TensorView<float> out,
                std::span<const std::int64_t> cu_q, std::span<const std::int64_t> cu_k, float scale,
                bool causal, ComputeType math) {
  Sequences sequences;
  sequences.all = make_args(q, k, v, out, scale, causal, math, 3);
  REELM_CHECK(cu_q.size() == cu_k.size());
  const std::int64_t n_q = sequences.all.n_q, n_k = sequences.all.n_k;
  sequences.all.n_q = longest(cu_q, n_q);
  sequences.all.n_k = longest(cu_k, n_k);
  sequences.count = std::ssize(cu_q) - 1;
  sequences.cu_q = cu_q;
  sequences.cu_k = cu_k;
  run(sequences, n_q, n_k);
}

}  // namespace

void attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  run_one(q, k, v, out, scale, causal, math);
}
void attention(TensorView<const float> q, TensorView<const bf16_t> k, TensorView<const bf16_t> v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  run_one(q, k, v, out, scale, causal, math);
}
void attention(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
               TensorView<float> out, float scale, bool causal, ComputeType math) {
  run_one(q, k, v, out, scale, causal, math);
}

void attention_forward(TensorView<const float> q, TensorView<const float> k,
                       TensorView<const float> v, TensorView<float> out, float scale, bool causal,
                       ComputeType math) {
  run_batch(q, k, v, out, scale, causal, math);
}
void attention_forward(TensorView<const float> q, TensorView<const bf16_t> k,
                       TensorView<const bf16_t> v, TensorView<float> out, float scale, bool causal,
                       ComputeType math) {
  run_batch(q, k, v, out, scale, causal, math);
}
void attention_forward(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
                       TensorView<float> out, float scale, bool causal, ComputeType math) {
  run_batch(q, k, v, out, scale, causal, math);
}

void attention_forward_varlen(TensorView<const float> q, TensorView<const float> k,
                              TensorView<const float> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math) {
  run_varlen(q, k, v, out, cu_seqlens_q, cu_seqlens_k, scale, causal, math);
}
void attention_forward_varlen(TensorView<const float> q, TensorView<const bf16_t> k,
                              TensorView<const bf16_t> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math) {
  run_varlen(q, k, v, out, cu_seqlens_q, cu_seqlens_k, scale, causal, math);
}
void attention_forward_varlen(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
                              TensorView<float> out, std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale, bool causal,
                              ComputeType math) {
  run_varlen(q, k, v, out, cu_seqlens_q, cu_seqlens_k, scale, causal, math);
}

}  // namespace reelm::kernels
