#include "vision/qwen2_5_vl/config.h"

#include <algorithm>

#include "core/throw.h"
#include "vision/config_reader.h"

namespace reelm::vision::qwen2_5_vl {

bool VisionConfig::full_attention(std::int64_t block) const noexcept {
  return std::find(fullatt_block_indexes.begin(), fullatt_block_indexes.end(), block) !=
         fullatt_block_indexes.end();
}

VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits) {
  const VisionJson vision = read_vision_json(files, limits);
  const auto& [json, where] = vision;
  VisionConfig c;
  read_tower_sizes(vision, c);
  c.embed_dim = json_int_or(json, "hidden_size", where, 1, kMaxWidth, c.embed_dim);
  c.hidden_size = json_int_or(json, "out_hidden_size", where, 1, kMaxWidth, c.hidden_size);
  c.intermediate_size =
      json_int_or(json, "intermediate_size", where, 1, kMaxWidth, c.intermediate_size);
  const std::int64_t least = c.patch_size * c.spatial_merge_size;
  c.window_size = json_int_or(json, "window_size", where, least, kMaxWidth, c.window_size);
  if (c.window_side() < 1) {
    throw_error(ErrorCode::kFormat, "{}: 'window_size' is {}, expected {} or more", where,
                c.window_size, least);
  }
  read_block_indexes(vision, "fullatt_block_indexes", c.fullatt_block_indexes);
  check_hidden_act(vision, "silu");
  check_tower_sizes(c, "hidden_size", vision);
  return c;
}

}  // namespace reelm::vision::qwen2_5_vl
