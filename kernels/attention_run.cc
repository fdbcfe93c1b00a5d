// Running attention with one candidate or another.
#include <algorithm>

#include "core/parallel.h"
#include "kernels/attention_impl.h"
#include "kernels/dispatch.h"
#include "kernels/reference/reference.h"

namespace reelm::kernels {

namespace {

const char* elements_from(const void* data, int type, std::int64_t offset) {
  return static_cast<const char*>(data) + offset * kv_element_bytes(type);
}

std::int64_t rows_of(const AttentionArgs& args) { return args.n_q * (args.heads / args.kv_heads); }

std::int64_t round_up_div(std::int64_t n, std::int64_t by) { return (n + by - 1) / by; }

std::int64_t tiles_of(const AttentionArgs& args) {
  return round_up_div(rows_of(args), args.tile.rows);
}

// 0, n-1, 1, n-2, ...: under a causal mask late tiles see more keys; so folded, any contiguous
// share of a thread holds about as many long tiles as short ones.
std::int64_t folded(std::int64_t i, std::int64_t n) { return i % 2 == 0 ? i / 2 : n - 1 - i / 2; }

void run_tile(const KernelTable& table, const AttentionArgs& args, std::int64_t kv_head,
              std::int64_t tile) {
  const std::int64_t begin = tile * args.tile.rows;
  float* scratch =
      scratch_floats(Scratch::kKernel,
                     static_cast<std::size_t>(attention_scratch_floats(args.tile, args.head_dim)));
  table.attention_tile(args, kv_head, begin, std::min(rows_of(args), begin + args.tile.rows),
                       scratch);
}

/// Tiles [begin, end) of the tiles of all sequences, laid end to end: fn(args, from, to, first) for
/// tiles from .. to of each sequence, whose own first tile is number `first` of all.
template <typename Fn>
void for_tiles(const Sequences& sequences, std::int64_t begin, std::int64_t end, Fn&& fn) {
  std::int64_t first = 0;
  for (std::int64_t s = 0; s < sequences.count && first < end; ++s) {
    const AttentionArgs args = sequences.part(s);
    const std::int64_t n = tiles_of(args);
    if (begin < first + n) {
      fn(args, std::max(begin - first, std::int64_t{0}), std::min(end - first, n), first);
    }
    first += n;
  }
}

/// The sum of count(args) over all sequences.
template <typename Count>
std::int64_t sum_over(const Sequences& sequences, Count&& count) {
  std::int64_t n = 0;
  for (std::int64_t s = 0; s < sequences.count; ++s) n += count(sequences.part(s));
  return n;
}

/// Tiles [begin, end) of one head.
void run_head(const KernelTable& table, const Sequences& sequences, std::int64_t head,
              std::int64_t begin, std::int64_t end) {
  for_tiles(sequences, begin, end,
            [&](const AttentionArgs& args, std::int64_t from, std::int64_t to, std::int64_t) {
              const std::int64_t n = tiles_of(args);
              for (std::int64_t i = from; i < to; ++i) run_tile(table, args, head, folded(i, n));
            });
}

void run_tiles(const KernelTable& table, const AttentionCandidate& candidate, Sequences sequences) {
  sequences.all.tile = candidate.tile;
  const std::int64_t heads = sequences.all.kv_heads;
  const std::int64_t tiles = sum_over(sequences, tiles_of);
  if (sequences.all.causal || candidate.dealing == Dealing::kAffine) {
    // Heads outermost: a thread's share reads the keys and values of few heads.
    parallel_tasks(candidate.dealing, heads, tiles, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t head = begin / tiles; head * tiles < end; ++head) {
        run_head(table, sequences, head, std::max(begin - head * tiles, std::int64_t{0}),
                 std::min(end - head * tiles, tiles));
      }
    });
    return;
  }
  // Heads innermost: a thread's share of tiles covers whole sequences, whose rows lie close
  // together.
  parallel_tasks(candidate.dealing, tiles, heads, 1, [&](std::int64_t begin, std::int64_t end) {
    for_tiles(
        sequences, begin / heads, round_up_div(end, heads),
        [&](const AttentionArgs& args, std::int64_t from, std::int64_t to, std::int64_t first) {
          const std::int64_t task0 = std::max(begin, (first + from) * heads);
          const std::int64_t task1 = std::min(end, (first + to) * heads);
          for (std::int64_t task = task0; task < task1; ++task) {
            run_tile(table, args, task % heads, task / heads - first);
          }
        });
  });
}

// Few rows: chunks of keys in parallel, then joined in order.
void run_chunks(const KernelTable& table, const AttentionCandidate& candidate,
                const AttentionArgs& args) {
  const std::int64_t rows = rows_of(args);
  const std::int64_t chunks = round_up_div(args.n_k, candidate.chunk_keys);
  const std::int64_t step = attention_partial_floats(rows, args.head_dim);
  const std::int64_t tasks = chunks * args.kv_heads;
  float* partial = scratch_floats(Scratch::kPartial, static_cast<std::size_t>(tasks * step));
  // A chunk of 64 keys is about 2 us; fewer are not worth a second thread.
  const std::int64_t grain = args.n_k < 64 ? tasks : 1;
  parallel_tasks(
      candidate.dealing, args.kv_heads, chunks, grain, [&](std::int64_t begin, std::int64_t end) {
        float* scratch =
            scratch_floats(Scratch::kKernel,
                           static_cast<std::size_t>(attention_chunk_scratch_floats(args.head_dim)));
        for (std::int64_t task = begin; task < end; ++task) {
          const std::int64_t key = task % chunks * candidate.chunk_keys;
          table.attention_chunk(args, task / chunks, key,
                                std::min(args.n_k, key + candidate.chunk_keys),
                                partial + task * step, scratch);
        }
      });
  for (std::int64_t kv_head = 0; kv_head < args.kv_heads; ++kv_head) {
    table.attention_join(args, kv_head, chunks, partial + kv_head * chunks * step);
  }
}

template <typename T>
TensorView<const T> rows_view(const KvArgs& kv, const AttentionArgs& args) {
  return {static_cast<const T*>(kv.data),
          {args.n_k, args.kv_heads, args.head_dim},
          {kv.row, kv.head, 1}};
}
Int8Heads int8_view(const KvArgs& kv, const AttentionArgs& args) {
  return {rows_view<std::int8_t>(kv, args),
          {kv.scales, {args.n_k, args.kv_heads}, {kv.scale_row, kv.scale_head}}};
}

void run_reference(const AttentionArgs& args) {
  const TensorView<const float> q(args.q, {args.n_q, args.heads, args.head_dim},
                                  {args.q_row, args.q_head, 1});
  const TensorView<float> out(args.out, {args.n_q, args.heads, args.head_dim},
                              {args.out_row, args.out_head, 1});
  const auto run = [&](const auto& k, const auto& v) {
    reference::attention(q, k, v, out, args.scale, args.causal);
  };
  if (args.kv_type == kElementInt8) {
    run(int8_view(args.k, args), int8_view(args.v, args));
  } else if (args.kv_type == kElementBf16) {
    run(rows_view<bf16_t>(args.k, args), rows_view<bf16_t>(args.v, args));
  } else {
    run(rows_view<float>(args.k, args), rows_view<float>(args.v, args));
  }
}

}  // namespace

AttentionArgs Sequences::part(std::int64_t s) const {
  AttentionArgs args = all;
  if (count == 1 && cu_q.empty()) return args;
  const auto i = static_cast<std::size_t>(s);
  const bool cut = !cu_q.empty();
  const std::int64_t q_row = cut ? cu_q[i] : 0, k_row = cut ? cu_k[i] : 0;
  if (cut) {
    args.n_q = cu_q[i + 1] - q_row;
    args.n_k = cu_k[i + 1] - k_row;
  }
  args.q += s * step.q + q_row * args.q_row;
  args.out += s * step.out + q_row * args.out_row;
  args.k.data = elements_from(args.k.data, args.kv_type, s * step.k + k_row * args.k.row);
  args.v.data = elements_from(args.v.data, args.kv_type, s * step.v + k_row * args.v.row);
  if (args.kv_type == kElementInt8) {
    args.k.scales += s * step.k_scale + k_row * args.k.scale_row;
    args.v.scales += s * step.v_scale + k_row * args.v.scale_row;
  }
  return args;
}

std::int64_t Sequences::pairs() const {
  return sum_over(*this, [](const AttentionArgs& args) {
    if (!args.causal) return args.n_q * args.n_k;
    const std::int64_t seen = std::min(args.n_q, args.n_k);  // rows before the first key see none
    return seen * args.n_k - seen * (seen - 1) / 2;
  });
}

void run_attention(const KernelTable& table, const AttentionCandidate& candidate,
                   const Sequences& sequences) {
  switch (candidate.kind) {
    case AttentionKind::kFlash:
      return run_tiles(table, candidate, sequences);
    case AttentionKind::kMatmul:
      return run_attention_matmul(table, sequences);
    case AttentionKind::kDecode:
    case AttentionKind::kReference:
      break;
  }
  for (std::int64_t s = 0; s < sequences.count; ++s) {
    const AttentionArgs args = sequences.part(s);
    if (args.n_q == 0) continue;
    if (candidate.kind == AttentionKind::kReference) {
      run_reference(args);
    } else {
      run_chunks(table, candidate, args);
    }
  }
}

}  // namespace reelm::kernels
