// The keys of vision_config that the families write alike. Not installed.
#pragma once

#include <string>
#include <vector>

#include "core/json.h"
#include "core/model_files.h"
#include "vision/tower_sizes.h"

namespace reelm::vision {

// Far above any published model; keeps every product of sizes below 2^63.
inline constexpr std::int64_t kMaxWidth = 1 << 20;
inline constexpr std::int64_t kMaxDepth = 1 << 12;

/// `vision_config` of config.json, and how errors name it.
struct VisionJson {
  Json json;
  std::string where;
};

/// Throws Error{kFormat} when config.json has no such object; what reading it throws.
VisionJson read_vision_json(const ModelFiles& files, const Limits& limits);

/// depth, num_heads, the sizes of patches (`in_chans` or `in_channels`) and the rotary embedding;
/// what is missing stays as it is. Throws Error naming the key, what was found and expected.
void read_tower_sizes(const VisionJson& vision, TowerSizes& sizes);

/// A list of numbers of blocks; without the key it stays as it
/// is. Throws Error{kFormat}.
void read_block_indexes(const VisionJson& vision, const char* key,
                        std::vector<std::int64_t>& indexes);

/// Throws Error{kUnsupported} when `hidden_act` is there and another.
void check_hidden_act(const VisionJson& vision, const std::string& expected);

/// Whether the sizes fit one another; `embed_dim_key` is what the family calls embed_dim. Throws
/// Error{kFormat}.
void check_tower_sizes(const TowerSizes& sizes, const char* embed_dim_key,
                       const VisionJson& vision);

}  // namespace reelm::vision
