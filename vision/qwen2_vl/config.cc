#include "vision/qwen2_vl/config.h"

#include "core/throw.h"
#include "vision/config_reader.h"

namespace reelm::vision::qwen2_vl {

VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits) {
  const VisionJson vision = read_vision_json(files, limits);
  const auto& [json, where] = vision;
  VisionConfig c;
  read_tower_sizes(vision, c);
  c.embed_dim = json_int_or(json, "embed_dim", where, 1, kMaxWidth, c.embed_dim);
  c.hidden_size = json_int_or(json, "hidden_size", where, 1, kMaxWidth, c.hidden_size);
  const double mlp_ratio = json_number_or(json, "mlp_ratio", where, 4.0);
  if (!(mlp_ratio > 0.0 && mlp_ratio <= 64.0)) {
    throw_error(ErrorCode::kFormat, "{}: 'mlp_ratio' is {}, expected above 0 and up to 64", where,
                mlp_ratio);
  }
  c.intermediate_size = static_cast<std::int64_t>(static_cast<double>(c.embed_dim) * mlp_ratio);
  if (c.intermediate_size < 1) {
    throw_error(ErrorCode::kFormat, "{}: 'mlp_ratio' is {}, which makes no row of an MLP", where,
                mlp_ratio);
  }
  check_hidden_act(vision, "quick_gelu");
  check_tower_sizes(c, "embed_dim", vision);
  return c;
}

}  // namespace reelm::vision::qwen2_vl
