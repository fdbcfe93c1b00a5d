#include "vision/config_reader.h"

#include <algorithm>

#include "core/throw.h"

namespace reelm::vision {

VisionJson read_vision_json(const ModelFiles& files, const Limits& limits) {
  const Json root = read_json_file(files, "config.json", limits);
  const std::string where = files.where("config.json") + ": vision_config";
  if (!root.is_object() || !root.contains("vision_config") || !root["vision_config"].is_object()) {
    throw_error(ErrorCode::kFormat, "{} is missing or not an object", where);
  }
  return {root["vision_config"], where};
}

void read_tower_sizes(const VisionJson& vision, TowerSizes& c) {
  const auto& [json, where] = vision;
  c.depth = json_int_or(json, "depth", where, 1, kMaxDepth, c.depth);
  c.num_heads = json_int_or(json, "num_heads", where, 1, kMaxWidth, c.num_heads);
  const char* channels = json.contains("in_channels") ? "in_channels" : "in_chans";
  c.in_channels = json_int_or(json, channels, where, 1, 64, c.in_channels);
  c.patch_size = json_int_or(json, "patch_size", where, 1, 256, c.patch_size);
  c.temporal_patch_size =
      json_int_or(json, "temporal_patch_size", where, 1, 64, c.temporal_patch_size);
  c.spatial_merge_size =
      json_int_or(json, "spatial_merge_size", where, 1, 64, c.spatial_merge_size);
  if (!json.contains("rope_parameters")) return;
  const std::string rope_where = where + ": rope_parameters";
  const Json& rope = json["rope_parameters"];
  c.rope_theta = json_number_or(rope, "rope_theta", rope_where, c.rope_theta);
  const std::string type = json_string_or(rope, "rope_type", rope_where, "axial");
  if (type != "axial") {
    throw_error(ErrorCode::kUnsupported, "{}: 'rope_type' is '{}', expected 'axial'", rope_where,
                type);
  }
}

void read_block_indexes(const VisionJson& vision, const char* key,
                        std::vector<std::int64_t>& indexes) {
  if (!vision.json.contains(key)) return;
  const Json& list = vision.json[key];
  const auto is_index = [](const Json& i) {
    return i.is_number_unsigned() && i.get<std::uint64_t>() < static_cast<std::uint64_t>(kMaxDepth);
  };
  if (!list.is_array() || !std::all_of(list.begin(), list.end(), is_index)) {
    throw_error(
        ErrorCode::kFormat, "{}: '{}' is {}, expected a list of integers of 0 to {}", vision.where,
        key, list.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60), kMaxDepth - 1);
  }
  indexes = list.get<std::vector<std::int64_t>>();
}

void check_hidden_act(const VisionJson& vision, const std::string& expected) {
  const std::string act = json_string_or(vision.json, "hidden_act", vision.where, expected);
  if (act != expected) {
    throw_error(ErrorCode::kUnsupported, "{}: 'hidden_act' is '{}', expected '{}'", vision.where,
                act, expected);
  }
}

void check_tower_sizes(const TowerSizes& c, const char* embed_dim_key, const VisionJson& vision) {
  if (c.embed_dim % c.num_heads != 0 || c.head_dim() % 4 != 0) {
    throw_error(ErrorCode::kFormat,
                "{}: {} {} over num_heads {} must give a head_dim that is a multiple of 4",
                vision.where, embed_dim_key, c.embed_dim, c.num_heads);
  }
  if (!(c.rope_theta > 0.0)) {
    throw_error(ErrorCode::kFormat, "{}: 'rope_theta' is {}, expected above 0", vision.where,
                c.rope_theta);
  }
}

}  // namespace reelm::vision
