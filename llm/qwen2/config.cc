#include "llm/qwen2/config.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "core/throw.h"
#include "llm/qwen2/config_reader.h"

namespace reelm::llm::qwen2 {

namespace {

/// rope_theta, and whether the kind of embedding is known.
void read_rope(const Json& text, const std::string& where,
               std::initializer_list<std::string_view> rope_types, DecoderConfig& c) {
  c.rope_theta = json_number_or(text, "rope_theta", where, c.rope_theta);
  for (const char* key : kRopeKeys) {
    if (!text.contains(key) || text[key].is_null()) continue;
    const Json& rope = text[key];
    const std::string rope_where = where + ": " + key;
    c.rope_theta = json_number_or(rope, "rope_theta", rope_where, c.rope_theta);
    const char* type_key = rope.contains("rope_type") ? "rope_type" : "type";
    const std::string type = json_string_or(rope, type_key, rope_where, "default");
    if (std::find(rope_types.begin(), rope_types.end(), type) == rope_types.end()) {
      throw_error(ErrorCode::kUnsupported, "{}: '{}' is '{}', expected '{}'", rope_where, type_key,
                  type, fmt::join(rope_types, "' or '"));
    }
  }
}

/// Every layer attends to all positions before it.
void check_attention(const Json& text, const std::string& where) {
  if (json_bool_or(text, "use_sliding_window", where, false)) {
    throw_error(ErrorCode::kUnsupported, "{}: 'use_sliding_window' is true, expected false", where);
  }
  if (!text.contains("layer_types") || text["layer_types"].is_null()) return;
  for (const Json& type : text["layer_types"]) {
    if (type == "full_attention") continue;
    throw_error(ErrorCode::kUnsupported, "{}: 'layer_types' has {}, expected 'full_attention' only",
                where, type.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 60));
  }
}

}  // namespace

DecoderConfig read_decoder_config(const Json& text, const std::string& where,
                                  std::initializer_list<std::string_view> rope_types,
                                  double rope_theta) {
  DecoderConfig c;
  c.rope_theta = rope_theta;
  c.hidden_size = json_int(text, "hidden_size", where, 1, kMaxWidth);
  c.intermediate_size = json_int(text, "intermediate_size", where, 1, kMaxWidth);
  c.num_hidden_layers = json_int(text, "num_hidden_layers", where, 1, kMaxLayers);
  c.num_attention_heads = json_int(text, "num_attention_heads", where, 1, kMaxWidth);
  c.num_key_value_heads =
      json_int_or(text, "num_key_value_heads", where, 1, kMaxWidth, c.num_attention_heads);
  c.head_dim =
      json_int_or(text, "head_dim", where, 1, kMaxWidth, c.hidden_size / c.num_attention_heads);
  c.vocab_size = json_int(text, "vocab_size", where, 1, kMaxVocabulary);
  c.max_position_embeddings =
      json_int_or(text, "max_position_embeddings", where, 1, kMaxPositions, 32768);
  c.rms_norm_eps = json_number_or(text, "rms_norm_eps", where, c.rms_norm_eps);
  read_rope(text, where, rope_types, c);
  c.tie_word_embeddings = json_bool_or(text, "tie_word_embeddings", where, false);
  const std::string act = json_string_or(text, "hidden_act", where, "silu");
  if (act != "silu") {
    throw_error(ErrorCode::kUnsupported, "{}: 'hidden_act' is '{}', expected 'silu'", where, act);
  }
  check_attention(text, where);
  return c;
}

void check_hidden_size(const DecoderConfig& c, const std::string& where) {
  if (c.head_dim * c.num_attention_heads != c.hidden_size || c.head_dim % 2 != 0) {
    throw_error(
        ErrorCode::kFormat,
        "{}: hidden_size {} must be num_attention_heads {} times an even head_dim, found {}", where,
        c.hidden_size, c.num_attention_heads, c.head_dim);
  }
}

void check_decoder_config(const DecoderConfig& c, const std::string& where) {
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    throw_error(ErrorCode::kFormat,
                "{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", where,
                c.num_attention_heads, c.num_key_value_heads);
  }
  if (c.head_dim % 2 != 0) {
    throw_error(ErrorCode::kFormat, "{}: head_dim is {}, expected an even one", where, c.head_dim);
  }
  const std::int64_t sum = std::reduce(c.mrope_section.begin(), c.mrope_section.end());
  if (sum != c.head_dim / 2) {
    throw_error(ErrorCode::kFormat, "{}: mrope_section sums to {}, expected head_dim / 2 = {}",
                where, sum, c.head_dim / 2);
  }
  if (!(c.rms_norm_eps >= 0.0 && c.rms_norm_eps < 1.0) || !(c.rope_theta > 0.0)) {
    throw_error(ErrorCode::kFormat, "{}: rms_norm_eps {} or rope_theta {} is out of range", where,
                c.rms_norm_eps, c.rope_theta);
  }
}

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const std::string where = files.where("config.json");
  DecoderConfig c = read_decoder_config(read_json_file(files, "config.json", limits), where,
                                        {"default"}, 10'000.0);
  c.mrope_section = {c.head_dim / 2, 0, 0};
  check_hidden_size(c, where);
  check_decoder_config(c, where);
  return c;
}

}  // namespace reelm::llm::qwen2
