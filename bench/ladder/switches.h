// What one rung of the ladder adds to the one before, and counts of what a rung really did.
#pragma once

#include <cstdint>

namespace reelm::bench {

/// Optimisations that the benchmark's own decoder and vision tower can do with and without. Rung k
/// of the ladder has the first k of them. Without: the reference kernels.
struct Switches {
  /// 1: attention over a prompt in tiles (kernels::attention), no score matrix and no mask.
  bool flash_prompt = false;
  /// 2: cos and sin once a forward pass, not in every layer; queries and keys turned in one call.
  bool rotary_once = false;
  /// 3: the decoder's residual added inside of RMSNorm; the vision tower's inside of the product
  /// before it, beside the vector LayerNorm.
  bool fused_add_norm = false;
  /// 4: behind the last layer's keys and values only the last position.
  bool last_logits = false;
  /// 5: the vision tower's rotary table and cu_seqlens made once a grid, outside of it; inside,
  /// attention in tiles over each slice instead of a dense mask over all of them.
  bool vision_flash = false;
  /// 6: room for all positions at once, new ones written in place; no concatenation. A step then
  /// attends to the whole room behind a mask.
  bool fixed_cache = false;
  /// 7: a step's attention in one pass over the positions that are filled.
  bool incremental_attention = false;
};

/// What a model did since it was made. Tests look at it; the table does not.
struct Counters {
  std::int64_t allocations = 0;         ///< results of operations, each in memory of its own
  std::int64_t mask_elements = 0;       ///< of dense masks
  std::int64_t score_elements = 0;      ///< of score matrices
  std::int64_t rotary_tables = 0;       ///< times that cos and sin were computed
  std::int64_t separate_adds = 0;       ///< residuals added in a pass of their own
  std::int64_t cache_bytes_copied = 0;  ///< of keys and values that were in the cache already
  std::int64_t logits_rows = 0;         ///< positions whose logits were computed

  friend bool operator==(const Counters&, const Counters&) = default;
};

}  // namespace reelm::bench
