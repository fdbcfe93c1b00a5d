#include "vision/qwen3_vl/config.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "core/throw.h"
#include "vision/config_reader.h"

namespace reelm::vision::qwen3_vl {

std::int64_t VisionConfig::grid_side() const noexcept {
  return static_cast<std::int64_t>(std::sqrt(static_cast<double>(num_position_embeddings)));
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
  c.num_position_embeddings =
      json_int_or(json, "num_position_embeddings", where, 1, kMaxWidth, c.num_position_embeddings);
  read_block_indexes(vision, "deepstack_visual_indexes", c.deepstack_visual_indexes);
  const std::vector<std::int64_t>& blocks = c.deepstack_visual_indexes;
  const bool ascending =
      std::adjacent_find(blocks.begin(), blocks.end(), std::greater_equal<>()) == blocks.end();
  if (!ascending || (!blocks.empty() && blocks.back() >= c.depth)) {
    throw_error(ErrorCode::kFormat,
                "{}: 'deepstack_visual_indexes' must ascend and be below depth {}", where, c.depth);
  }
  check_hidden_act(vision, "gelu_pytorch_tanh");
  check_tower_sizes(c, "hidden_size", vision);
  return c;
}

}  // namespace reelm::vision::qwen3_vl
