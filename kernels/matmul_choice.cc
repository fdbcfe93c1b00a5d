// The candidates of a product.
#include <array>

#include "kernels/matmul_impl.h"

namespace reelm::kernels {

namespace {

// Products of more rows than this read the weights too often when they stream them.
constexpr std::int64_t kMostFewRows = 64;

// What one task covers by the rule: rows and panels that leave a block of activations, a panel's
// block and the sums (176 + 64 + 88 KB in f32) in 512 KB of second cache. Measured on Zen 3 against
// one panel a task: as fast at k = 1,536, 10 % faster at k = 8,960.
constexpr std::array<MatmulCandidate, 10> kCandidates = {{
    {"few", true, 0, 1, Dealing::kStatic},
    {"few-dynamic", true, 0, 1, Dealing::kDynamic},
    {"blocked-176x2", false, 176, 2, Dealing::kStatic},
    {"blocked-176x2-affine", false, 176, 2, Dealing::kAffine},
    {"blocked-176x2-dynamic", false, 176, 2, Dealing::kDynamic},
    {"blocked-176x1", false, 176, 1, Dealing::kStatic},
    {"blocked-88x2", false, 88, 2, Dealing::kStatic},
    {"blocked-88x4", false, 88, 4, Dealing::kStatic},
    {"blocked-352x2", false, 352, 2, Dealing::kStatic},
    {"blocked-352x2-dynamic", false, 352, 2, Dealing::kDynamic},
}};
// The tiles of AMX want more rows to a block of weights: in turns 1.02 to 1.10 times as fast as 176
// rows, in all of 8 products of the 2B model (4 shapes, bf16 and int8; medians).
//
// Blocks go to whoever is free: where something else holds one core up (a neighbour on a virtual
// machine, another program) dealing them in advance waits for that core at the end of each product.
// In turns on such a machine, medians of 25: 0.96 to 1.41 times as fast, 1.06 in the mean of
// 12, and as fast while both cores were free. A few rows wait for memory, which is shared anyway.
constexpr int kFewRule = 0, kBlockedRule = 4, kTilesRule = 9;
static_assert(kCandidates[kBlockedRule].chunk_rows == 176 &&
              kCandidates[kTilesRule].chunk_rows == 352 &&
              kCandidates[kTilesRule].dealing == Dealing::kDynamic);

constexpr auto kNames = [] {
  std::array<const char*, kCandidates.size()> names{};
  for (std::size_t i = 0; i < names.size(); ++i) names[i] = kCandidates[i].name;
  return names;
}();

}  // namespace

std::span<const char* const> matmul_candidate_names() noexcept { return kNames; }
std::span<const MatmulCandidate> matmul_candidates() noexcept { return kCandidates; }

bool matmul_same_bits(const KernelTable& table, ComputeType type, const MatmulCandidate& a,
                      const MatmulCandidate& b) noexcept {
  const bool tiles = type == ComputeType::kBF16 && table.blocked_a_bf16 == kPackedBf16Tiles;
  return !tiles || a.few == b.few;
}

int matmul_rule(const KernelTable& table, std::int64_t m) noexcept {
  if (m <= kFewRows) return kFewRule;
  return table.blocked_a_bf16 == kPackedBf16Tiles ? kTilesRule : kBlockedRule;
}

bool matmul_supports(const MatmulCandidate& candidate, std::int64_t m) noexcept {
  return candidate.few ? m <= kMostFewRows : m > 1;
}

TuneKey matmul_key(const KernelTable& table, std::int64_t m, const PackedMatrix::Impl& w) {
  // Around the rule's threshold every few rows count.
  const std::int64_t rows = m <= kMostFewRows ? (m + 3) / 4 * 4 : size_class(m, 128, 1024);
  return {.op = TunedOp::kMatmul,
          .type = static_cast<std::int32_t>(w.type),
          .flags = 0,
          .isa = table.isa,
          .threads = loop_threads(),
          .sizes = {static_cast<std::int32_t>(m == 1 ? 1 : rows), static_cast<std::int32_t>(w.n),
                    static_cast<std::int32_t>(w.k), 0, 0}};
}

}  // namespace reelm::kernels
