// M-RoPE: three-part positions of a prompt with media in it, and their rotary angles.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "../core/patch_batch.h"
#include "../core/tensor_view.h"
#include "tokenizer.h"

namespace reelm::llm {

/// Positions of a prompt.
struct MropePositions {
  std::vector<std::int64_t> ids;  // [3, n] row major: t, h, w
  std::int64_t rope_delta = 0;    // largest position + 1 - n; decode position = length + rope_delta
};

/// Placeholder tokens of a family.
struct VisionTokenIds {
  TokenId image = -1;
  TokenId video = -1;
};

/// An image or video of a prompt.
struct VisionGrid {
  GridThw thw{};
  /// Positions from one temporal patch to the next; what is behind the point is cut off each.
  float time_interval = 1.0f;
};

/// VisionGrid::time_interval of a video whose temporal patches are `second_per_grid` apart, at
/// `tokens_per_second` positions in a second; 1 where the latter is 0: of families that only count.
/// In f32 as Qwen2_5_VLModel.get_rope_index (transformers 5.23).
float time_interval(double tokens_per_second, double second_per_grid) noexcept;

/// Where text goes on after an image or video. The two are the same unless a video has more
/// temporal patches than tokens along its longer side.
enum class PositionRule {
  kPaper,  ///< at its largest position + 1: the Qwen2-VL paper, transformers 4, what models learnt
  kInstalled,  ///< max(h, w)/merge further on: get_rope_index of transformers 5.23
};

/// Text counts up in all three parts; an image or video starts at the next position and runs over
/// (t * time_interval, h/merge, w/merge); `rule` says where text goes on. `grids` are the media in
/// the order of their placeholder runs. `start` is the first position (0, or where an earlier turn
/// ended). Throws Error{kInvalidArgument} when runs of placeholders and grids do not match, or
/// positions reach 2^40. Source: get_rope_index of Qwen2VLModel and Qwen2_5_VLModel (transformers).
MropePositions mrope_positions(std::span<const TokenId> ids, std::span<const VisionGrid> grids,
                               std::int64_t spatial_merge_size, const VisionTokenIds& tokens,
                               std::int64_t start = 0, PositionRule rule = PositionRule::kPaper);

/// Fills cos and sin [n, head_dim / 2] for position_ids [3, n]: of the frequencies in order, as
/// many as mrope_section says turn with t, h, w, and where there are more than three sizes with t,
/// h, w again (they sum to head_dim / 2). Source: Qwen2VLRotaryEmbedding (transformers 5.23).
void mrope_table(TensorView<const std::int64_t> position_ids, std::span<const float> inv_freq,
                 std::span<const std::int64_t> mrope_section, TensorView<float> cos,
                 TensorView<float> sin);

/// What stands for the three sizes of a mrope_section in mrope_table where frequencies take turns:
/// t, h, w, t, h, w, and so on; t alone where h or w have had as many as `section` says.
/// Source: Qwen3VLTextRotaryEmbedding.recomposition_frequencies (transformers 5.23).
std::vector<std::int64_t> interleaved_mrope_section(std::span<const std::int64_t, 3> section);

/// 1 / theta^(2j / head_dim), in f32 as the reference; [head_dim / 2].
std::vector<float> rope_inv_freq(double theta, std::int64_t head_dim);

}  // namespace reelm::llm
