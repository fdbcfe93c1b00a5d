// What a packed weight holds. Not installed.
#pragma once

#include <span>

#include "../core/aligned_buffer.h"
#include "../core/parallel.h"
#include "matmul.h"
#include "simd/table.h"
#include "tuner_impl.h"

namespace reelm::kernels {

/// Panels of 64 output features, [ceil(n / 64)][k_pad][64] in f32, [ceil(n / 64)][k_pad /
/// 2][64][2] in bf16, [ceil(n / 64)][k_pad / 128] blocks of the quantised types (simd/table.h),
/// zeros where there is nothing. One copy serves both regimes: decoding streams a panel front to
/// back, and the blocked product of oneDNN reads the very same bytes of f32 and bf16 (its formats
/// BA16a64b and BA16a64b2a, whose blocks of k are 16 and 32: hence k_pad).
struct PackedMatrix::Impl {
  std::int64_t n = 0;
  std::int64_t k = 0;
  std::int64_t k_pad = 0;
  ComputeType type = ComputeType::kF32;
  std::span<const std::uint32_t> words;
  AlignedBuffer<std::uint32_t> storage;  // of `words`, or:
  std::shared_ptr<const void> owner;
};

/// Which code a product takes.
enum class MatmulPath { kNothing, kFewRows, kBlocked, kDnnl };

/// What the last matmul() of this thread took; for tests and benchmarks.
MatmulPath last_matmul_path() noexcept;

/// Products with at least this many rows are given to oneDNN where it has a kernel for the panels.
inline constexpr std::int64_t kDnnlRows = 16;
/// Products with at most this many rows stream the weights, where nothing else was chosen.
inline constexpr std::int64_t kFewRows = 12;

/// One way to run a product of our own. Every element of y is one chain of additions over k, so
/// that those which add alike give the same bits (matmul_same_bits).
struct MatmulCandidate {
  const char* name;
  bool few;                 ///< streams the weights, a panel a task
  std::int64_t chunk_rows;  ///< else, of a task: rows at most
  std::int64_t group;       ///< and panels at most
  Dealing dealing;
};

std::span<const MatmulCandidate> matmul_candidates() noexcept;

/// Whether two candidates give the same bits for weights of a type. Only the tiles of AMX add
/// otherwise than what streams bf16: seen on a CPU (Tuner tests), their sums of pairs differ.
bool matmul_same_bits(const KernelTable& table, ComputeType type, const MatmulCandidate& a,
                      const MatmulCandidate& b) noexcept;

/// What is taken for m rows when nothing was measured.
int matmul_rule(const KernelTable& table, std::int64_t m) noexcept;
/// Whether it is meant for m rows.
bool matmul_supports(const MatmulCandidate& candidate, std::int64_t m) noexcept;
/// The class of a product: sizes[] are rows, n, k.
TuneKey matmul_key(const KernelTable& table, std::int64_t m, const PackedMatrix::Impl& w);

}  // namespace reelm::kernels
