// Which candidate computes a call of attention.
#include <algorithm>
#include <array>
#include <vector>

#include "kernels/attention_impl.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

using Kind = AttentionKind;

constexpr AttentionCandidate flash(const char* name, std::int64_t rows, std::int64_t keys,
                                   Dealing dealing = Dealing::kStatic) {
  return {name, Kind::kFlash, {rows, keys}, 0, dealing};
}
constexpr AttentionCandidate decode(const char* name, std::int64_t keys,
                                    Dealing dealing = Dealing::kStatic) {
  return {name, Kind::kDecode, {}, keys, dealing};
}

constexpr std::array kCandidates = {
    flash("flash-192x64", kAttentionRows, kAttentionKeys),
    flash("flash-192x64-affine", 192, 64, Dealing::kAffine),
    flash("flash-192x64-dynamic", 192, 64, Dealing::kDynamic),
    flash("flash-48x64", 48, 64),
    flash("flash-96x64", 96, 64),
    flash("flash-96x64-dynamic", 96, 64, Dealing::kDynamic),
    flash("flash-384x64", 384, 64),
    flash("flash-384x64-dynamic", 384, 64, Dealing::kDynamic),
    flash("flash-96x128", 96, kAttentionKeysLong),
    flash("flash-192x128", 192, kAttentionKeysLong),
    flash("flash-192x128-dynamic", 192, 128, Dealing::kDynamic),
    flash("flash-384x128", 384, 128),
    flash("flash-624x128-dynamic", 624, 128, Dealing::kDynamic),
    flash("flash-1248x128-dynamic", 1248, 128, Dealing::kDynamic),
    decode("decode-512", kDecodeKeys),
    decode("decode-512-affine", 512, Dealing::kAffine),
    decode("decode-512-dynamic", 512, Dealing::kDynamic),
    decode("decode-128", 128),
    decode("decode-256", 256),
    decode("decode-1024", 1024),
    decode("decode-2048", 2048),
    AttentionCandidate{"matmul", Kind::kMatmul, {}, 0, Dealing::kStatic},
    AttentionCandidate{"reference", Kind::kReference, {}, 0, Dealing::kStatic},
};
// Tiles go to whoever is free: see matmul_choice.cc. In turns on a machine with restless neighbours
// 1.10 and 1.13 times as fast as tiles dealt in advance (1,196 patches, medians of 40).
//
// Each tile of rows turns all keys and values into the form that is multiplied, from rows that lie
// a position apart, so that no prefetcher follows. More rows do that less often, and more keys
// write and read the rows' sums less often. The sets of AVX-512 have the cache for both (1 MB and
// more): 1,248 rows by 128 keys instead of 192 by 64 took 0.73 of the time in the tiles of AMX,
// 0.90 and 0.87 without and in f32 (1,196 patches of 16 heads; 2,964 patches 0.55 to 0.67 in
// tiles). Under a causal mask, 12 heads on 2: 624 by 128 took 0.81 to 0.82 of 192 by 64 behind
// 2,048 keys in tiles, 0.87 to 0.99 without. A tile's last blocks of rows alone see its last keys,
// so that it computes little more above the diagonal than a small one.
//
// The largest first; the number of keys is the same for all of a set: answers must not depend on
// how many threads there are.
constexpr std::array kFlashWide = {13, 12, 10};
constexpr int kFlashRule = 2, kDecodeRule = 14;
constexpr bool is_dynamic(int i, std::int64_t rows, std::int64_t keys) {
  const AttentionCandidate& candidate = kCandidates[static_cast<std::size_t>(i)];
  return candidate.dealing == Dealing::kDynamic && candidate.tile.rows == rows &&
         candidate.tile.keys == keys;
}
static_assert(is_dynamic(kFlashRule, 192, 64) && is_dynamic(kFlashWide[0], 1248, 128) &&
              is_dynamic(kFlashWide[1], 624, 128) && is_dynamic(kFlashWide[2], 192, 128) &&
              kCandidates[kDecodeRule].kind == Kind::kDecode &&
              kCandidates[kDecodeRule].chunk_keys == kDecodeKeys);

constexpr auto kNames = [] {
  std::array<const char*, kCandidates.size()> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kCandidates[i].name;
  return names;
}();

// Multiplications above which the oracle, at some hundred million a second, is not timed.
constexpr std::int64_t kWorthReference = 1 << 25;
// What a trial multiplies at most, unless it must be more to be one: about 2 ms.
constexpr std::int64_t kTrialProducts = std::int64_t{1} << 26;
constexpr std::int64_t kTrialRows = 768, kTrialKeys = 256, kTrialHeads = 4;

std::int64_t products(const Sequences& sequences) {
  return 2 * sequences.pairs() * sequences.all.heads * sequences.all.head_dim;
}

/// The class of a call: sizes[] are rows, keys, kv heads, heads of a group, head_dim.
TuneKey key_of(const KernelTable& table, const Sequences& sequences) {
  const AttentionArgs& all = sequences.all;
  return {.op = TunedOp::kAttention,
          .type = all.kv_type,
          .flags = (all.causal ? 1 : 0) | (all.bf16_math ? 2 : 0),
          .isa = table.isa,
          .threads = loop_threads(),
          .sizes = {size_class(sequences.count * sequences.rows(), kDecodeRows, 1024),
                    size_class(all.n_k, 64, sequences.rows() <= kDecodeRows ? 16384 : 1024),
                    static_cast<std::int32_t>(all.kv_heads),
                    static_cast<std::int32_t>(all.heads / all.kv_heads),
                    static_cast<std::int32_t>(all.head_dim)}};
}

/// A part of the longest sequence, or of the first, that says which candidate is fastest: few
/// heads, the first rows, and some keys.
Sequences trial_of(const Sequences& sequences) {
  Sequences trial;
  trial.all = sequences.all;
  if (sequences.cu_q.empty()) {
    trial.all = sequences.part(0);
  } else {
    std::int64_t longest = 0;
    for (std::int64_t s = 0; s < sequences.count; ++s) {
      const AttentionArgs part = sequences.part(s);
      if (part.n_q * part.n_k < longest) continue;
      longest = part.n_q * part.n_k;
      trial.all = part;
    }
  }
  AttentionArgs& all = trial.all;
  const std::int64_t group = all.heads / all.kv_heads;
  all.kv_heads = std::min(all.kv_heads, kTrialHeads);
  all.heads = all.kv_heads * group;
  if (trial.rows() <= kDecodeRows) return trial;
  all.n_q = std::min(all.n_q, std::max(kTrialRows / group, std::int64_t{1}));
  const std::int64_t keys =
      std::max(kTrialKeys, kTrialProducts / (2 * all.n_q * all.heads * all.head_dim));
  // Under a causal mask no row should be without a key.
  all.n_k = std::min(all.n_k, all.causal ? std::max(keys, all.n_q) : keys);
  return trial;
}

/// Those that may be timed for a call, the rule among them.
std::vector<Tuner::Candidate> candidates_for(const KernelTable& table, const Sequences& sequences,
                                             int rule, bool everything) {
  std::vector<Tuner::Candidate> out;
  for (std::size_t i = 0; i < kCandidates.size(); ++i) {
    const AttentionCandidate& candidate = kCandidates[i];
    const bool eligible =
        attention_same_bits(candidate, kCandidates[static_cast<std::size_t>(rule)]);
    if (!attention_supports(table, candidate, sequences)) continue;
    if (!eligible && !everything) continue;
    if (candidate.kind == Kind::kReference && products(sequences) > kWorthReference) continue;
    out.push_back({static_cast<int>(i), eligible});
  }
  return out;
}

const TuneEntry* measure(Tuner& tuner, const KernelTable& table, const TuneKey& key,
                         const Sequences& sequences, int rule) {
  const bool everything = tuner.options().everything;
  Sequences trial = everything ? sequences : trial_of(sequences);
  // Each candidate writes all results: into scratch, the call itself comes after the choice.
  AttentionArgs& all = trial.all;
  const std::int64_t rows = trial.cu_q.empty() ? trial.count * all.n_q
                                               : trial.cu_q[static_cast<std::size_t>(trial.count)];
  AlignedBuffer<float> out(static_cast<std::size_t>(rows * all.heads * all.head_dim));
  all.out = out.data();
  all.out_row = all.heads * all.head_dim;
  all.out_head = all.head_dim;
  if (trial.cu_q.empty()) trial.step.out = all.n_q * all.out_row;
  const auto candidates = candidates_for(table, trial, rule, everything);
  return tuner.measure(key, candidates, rule, [&](int i) {
    run_attention(table, kCandidates[static_cast<std::size_t>(i)], trial);
  });
}

}  // namespace

std::span<const char* const> attention_candidate_names() noexcept { return kNames; }
std::span<const AttentionCandidate> attention_candidates() noexcept { return kCandidates; }

bool attention_supports(const KernelTable& table, const AttentionCandidate& candidate,
                        const Sequences& sequences) noexcept {
  const AttentionArgs& all = sequences.all;
  switch (candidate.kind) {
    case Kind::kDecode:  // it reads whole registers of a head
      return sequences.rows() <= kDecodeRows && all.head_dim % table.width == 0 && all.n_k > 0;
    case Kind::kMatmul: {
      const std::int64_t d = all.head_dim;  // oneDNN wants rows that do not overlap
      return all.q_row >= d && all.out_row >= d && all.k.row >= d && all.v.row >= d;
    }
    case Kind::kFlash:
    case Kind::kReference:
      break;
  }
  return true;
}

bool attention_same_bits(const AttentionCandidate& a, const AttentionCandidate& b) noexcept {
  if (a.kind != b.kind) return false;
  return a.kind == Kind::kFlash ? a.tile.keys == b.tile.keys : a.chunk_keys == b.chunk_keys;
}

int attention_rule(const KernelTable& table, const Sequences& sequences) noexcept {
  if (attention_supports(table, kCandidates[kDecodeRule], sequences)) return kDecodeRule;
  if (table.width != 16) return kFlashRule;
  // Few large tiles would leave threads without one.
  const std::int64_t enough = 4 * loop_threads();
  for (const int wide : kFlashWide) {
    const std::int64_t rows = kCandidates[static_cast<std::size_t>(wide)].tile.rows;
    const std::int64_t tiles = sequences.count * ((sequences.rows() + rows - 1) / rows);
    const bool skips = sequences.all.causal && wide == kFlashWide.front();
    if (!skips && tiles * sequences.all.kv_heads >= enough) return wide;
  }
  return kFlashWide.back();
}

int choose_attention(const KernelTable& table, const Sequences& sequences) {
  const int rule = attention_rule(table, sequences);
  const auto can_run = [&](int i) {
    return attention_supports(table, kCandidates[static_cast<std::size_t>(i)], sequences);
  };
  const auto same_bits = [&](int i) {
    return attention_same_bits(kCandidates[static_cast<std::size_t>(i)],
                               kCandidates[static_cast<std::size_t>(rule)]);
  };
  return choose_candidate(
      TunedOp::kAttention, rule, products(sequences), can_run, same_bits,
      [&] { return key_of(table, sequences); },
      [&](Tuner& tuner, const TuneKey& key) {
        return measure(tuner, table, key, sequences, rule);
      });
}

}  // namespace reelm::kernels
