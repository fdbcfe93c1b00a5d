// How attention is run: its sequences, its candidates and what a choice depends on. Not installed.
#pragma once

#include <cstdint>
#include <span>

#include "../core/parallel.h"
#include "simd/table.h"
#include "tuner_impl.h"

namespace reelm::kernels {

/// Sequences that share everything but where they begin and how long they are.
struct Sequences {
  AttentionArgs all{};     ///< pointers: of the first; n_q, n_k: of the longest
  std::int64_t count = 1;  ///< of sequences
  /// From one sequence to the next, where all are of one length. In elements.
  struct Steps {
    std::int64_t q = 0, k = 0, v = 0, out = 0, k_scale = 0, v_scale = 0;
  } step;
  /// Else: where they begin and end, [count + 1].
  std::span<const std::int64_t> cu_q, cu_k;

  AttentionArgs part(std::int64_t s) const;
  /// Rows (query positions x query heads of a kv head) of the longest.
  std::int64_t rows() const { return all.n_q * (all.heads / all.kv_heads); }
  /// Pairs of queries and the keys they attend to, over all sequences.
  std::int64_t pairs() const;
};

enum class AttentionKind {
  kFlash,      ///< tiles: attention_tile
  kDecode,     ///< chunks of keys that are joined: attention_chunk
  kMatmul,     ///< products of oneDNN with softmax between them
  kReference,  ///< the oracle
};

/// One way to compute attention.
struct AttentionCandidate {
  const char* name;
  AttentionKind kind;
  AttentionTile tile;       ///< of kFlash
  std::int64_t chunk_keys;  ///< of kDecode
  Dealing dealing;          ///< of kFlash and kDecode
};

std::span<const AttentionCandidate> attention_candidates() noexcept;

/// What is taken when nothing was measured.
int attention_rule(const KernelTable& table, const Sequences& sequences) noexcept;
/// Whether it can: decode takes few rows of a whole number of registers.
bool attention_supports(const KernelTable& table, const AttentionCandidate& candidate,
                        const Sequences& sequences) noexcept;
/// Whether both sum in the same order, so that results are the same to the bit.
bool attention_same_bits(const AttentionCandidate& a, const AttentionCandidate& b) noexcept;

void run_attention(const KernelTable& table, const AttentionCandidate& candidate,
                   const Sequences& sequences);

/// Products of oneDNN (attention_matmul.cc).
void run_attention_matmul(const KernelTable& table, const Sequences& sequences);

/// The index of the candidate to run: forced, measured (now, where the tuner may), or the rule.
int choose_attention(const KernelTable& table, const Sequences& sequences);

}  // namespace reelm::kernels
