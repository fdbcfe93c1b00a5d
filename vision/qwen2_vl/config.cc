#include "vision/qwen2_vl/config.h"

#include "core/json.h"
#include "core/throw.h"

namespace reelm::vision::qwen2_vl {

namespace {
// Far above any published model; keeps every product of sizes below 2^63.
constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxDepth = 1 << 12;
}  // namespace

VisionConfig load_vision_config(const ModelFiles& files, const Limits& limits) {
  const Json root = read_json_file(files, "config.json", limits);
  const std::string where = files.where("config.json") + ": vision_config";
  if (!root.is_object() || !root.contains("vision_config") || !root["vision_config"].is_object()) {
    throw_error(ErrorCode::kFormat, "{} is missing or not an object", where);
  }
  const Json& json = root["vision_config"];
  VisionConfig c;
  c.depth = json_int_or(json, "depth", where, 1, kMaxDepth, c.depth);
  c.embed_dim = json_int_or(json, "embed_dim", where, 1, kMaxWidth, c.embed_dim);
  c.num_heads = json_int_or(json, "num_heads", where, 1, kMaxWidth, c.num_heads);
  c.hidden_size = json_int_or(json, "hidden_size", where, 1, kMaxWidth, c.hidden_size);
  const char* channels = json.contains("in_channels") ? "in_channels" : "in_chans";
  c.in_channels = json_int_or(json, channels, where, 1, 64, c.in_channels);
  c.patch_size = json_int_or(json, "patch_size", where, 1, 256, c.patch_size);
  c.temporal_patch_size =
      json_int_or(json, "temporal_patch_size", where, 1, 64, c.temporal_patch_size);
  c.spatial_merge_size =
      json_int_or(json, "spatial_merge_size", where, 1, 64, c.spatial_merge_size);
  const double mlp_ratio = json_number_or(json, "mlp_ratio", where, 4.0);
  if (!(mlp_ratio > 0.0 && mlp_ratio <= 64.0)) {
    throw_error(ErrorCode::kFormat, "{}: 'mlp_ratio' is {}, expected above 0 and up to 64", where,
                mlp_ratio);
  }
  c.intermediate_size = static_cast<std::int64_t>(static_cast<double>(c.embed_dim) * mlp_ratio);
  if (json.contains("rope_parameters")) {
    const std::string rope_where = where + ": rope_parameters";
    const Json& rope = json["rope_parameters"];
    c.rope_theta = json_number_or(rope, "rope_theta", rope_where, c.rope_theta);
    const std::string type = json_string_or(rope, "rope_type", rope_where, "axial");
    if (type != "axial") {
      throw_error(ErrorCode::kUnsupported, "{}: 'rope_type' is '{}', expected 'axial'", rope_where,
                  type);
    }
  }
  const std::string act = json_string_or(json, "hidden_act", where, "quick_gelu");
  if (act != "quick_gelu") {
    throw_error(ErrorCode::kUnsupported, "{}: 'hidden_act' is '{}', expected 'quick_gelu'", where,
                act);
  }
  if (c.embed_dim % c.num_heads != 0 || c.head_dim() % 4 != 0) {
    throw_error(ErrorCode::kFormat,
                "{}: embed_dim {} over num_heads {} must give a head_dim that is a multiple of 4",
                where, c.embed_dim, c.num_heads);
  }
  if (c.intermediate_size < 1 || !(c.rope_theta > 0.0)) {
    throw_error(ErrorCode::kFormat, "{}: mlp_ratio and rope_theta must be above 0", where);
  }
  return c;
}

}  // namespace reelm::vision::qwen2_vl
