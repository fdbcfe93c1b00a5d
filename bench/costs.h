// What each stage has to do at the least: operations and bytes, from the model's sizes. These are
// the numbers that a measured time is compared with; the formulas are in costs.cc, and
// tests/bench/costs_test.cc has them worked out by hand.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/patch_batch.h"
#include "llm/qwen2_vl/config.h"
#include "vision/qwen2_5_vl/config.h"
#include "vision/qwen2_vl/config.h"
#include "vision/qwen3_vl/config.h"

namespace reelm::bench {

/// Which ceiling the operations of a stage run against.
enum class Unit {
  kF32,     ///< elementwise arithmetic and filters
  kMatrix,  ///< products, in the type the model's weights have
};

/// A multiply and an add are two operations. Bytes are those that must come from or go to memory
/// when every tensor between two stages is written once and read once, and every weight is read
/// once; what a stage only needs within itself (hidden rows of the MLP, scores of attention) counts
/// nothing, because a better implementation need not write it.
struct Cost {
  double flop = 0.0;
  double bytes = 0.0;
  Unit unit = Unit::kF32;
  /// How many of `flop` are attention's, which computes in bf16 beside quantised weights.
  double attention_flop = 0.0;
};

/// Stages in the order they run; "vit" and then its parts "vit.qkv", ...
using StageCosts = std::vector<std::pair<std::string, Cost>>;

/// Bytes of one element as the model runs: weights 4 (f32), 2 (bf16) or less; KV cache likewise,
/// with int8 1 and its share of a scale; embeddings as the checkpoint stores them. Activations
/// between stages are f32.
struct Formats {
  double weight_bytes = 4.0;
  double kv_bytes = 4.0;
  double embedding_bytes = 4.0;
  double kept_bytes = 4.0;  ///< of weights that keep more bits: the head, the patch embedding
};

/// The vision tower over grid[0] slices of grid[1] x grid[2] patches, each encoded on its own:
/// "vit" with patch_embed, qkv, rotary, attention, proj, mlp, norm, merger.
StageCosts vision_costs(const vision::qwen2_vl::VisionConfig& config, const GridThw& grid,
                        const Formats& formats);
/// The same where most blocks attend inside of windows.
StageCosts vision_costs(const vision::qwen2_5_vl::VisionConfig& config, const GridThw& grid,
                        const Formats& formats);

/// The same with learned positions, and a merger for each block that deep-stack features come from.
StageCosts vision_costs(const vision::qwen3_vl::VisionConfig& config, const GridThw& grid,
                        const Formats& formats);

/// What a decoder does in its own way.
struct DecoderWork {
  double hidden_products = 2;  ///< of the MLP, before the last: gate and up; or one
  /// LayerNorms whose results take the residual's place, times a number; products are added to it.
  /// Else RMSNorms of the sum of residual and product.
  bool layer_norms = false;
  bool two_way_prompt = false;  ///< all tokens of a prompt but the last see one another
};

/// Of a kind of SyntheticSizes::decoder_kind.
DecoderWork decoder_work(std::string_view kind) noexcept;

/// A prompt of n tokens into an empty cache: "merge", then "prefill" with qkv, rotary, kv_write,
/// attention, o_proj, mlp, norm, lm_head. Behind the last layer's keys and values only the last row
/// counts, and the head is applied to that row alone.
StageCosts prefill_costs(const llm::qwen2_vl::DecoderConfig& config, std::int64_t n,
                         const Formats& formats, const DecoderWork& work = {});

/// One token that attends to `context` positions, itself included (a mean over several tokens may
/// be fractional): "decode_token" with the same parts.
StageCosts decode_costs(const llm::qwen2_vl::DecoderConfig& config, double context,
                        const Formats& formats, const DecoderWork& work = {});

/// A choice by the largest of `vocab_size` logits: "sampling".
StageCosts sampling_costs(std::int64_t vocab_size);

/// Frames of a video or image on their way to patches.
struct FrameSizes {
  std::int64_t decoded = 0;  ///< frames that have to be decoded
  std::int64_t taken = 0;    ///< frames that are converted, resized, patchified
  std::int64_t source_height = 0, source_width = 0;
  std::int64_t height = 0, width = 0;  ///< resized
};

/// "decode", "convert", "resize", "patchify". Decoding is counted by what it writes only (YUV
/// 4:2:0, 1.5 bytes a pixel): its arithmetic depends on the film.
StageCosts frame_costs(const FrameSizes& sizes);

/// What a machine can do in a second at best.
struct Peaks {
  double ops = 0.0;            ///< of everything but attention
  double attention_ops = 0.0;  ///< of attention
  double bytes = 0.0;
};

/// Seconds that the operations, and that the bytes of a cost take at the least.
double flop_seconds(const Cost& cost, const Peaks& peaks);
double byte_seconds(const Cost& cost, const Peaks& peaks);
/// Seconds below which no implementation can get: the larger of both. 0 when nothing is counted.
double floor_seconds(const Cost& cost, const Peaks& peaks);

}  // namespace reelm::bench
