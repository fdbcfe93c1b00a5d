#include "llm/qwen2_vl/config.h"

#include <numeric>

#include "core/json.h"
#include "core/throw.h"

namespace reelm::llm::qwen2_vl {

namespace {

// Far above any published model; keeps every product of sizes below 2^63.
constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxLayers = 1 << 12;
constexpr std::int64_t kMaxVocabulary = 1 << 22;
constexpr std::int64_t kMaxPositions = 1 << 24;

/// rope_theta and mrope_section: `rope_parameters` (new), `rope_scaling` (old), rope_theta beside
/// it.
void read_rope(const Json& text, const std::string& where, DecoderConfig& c) {
  c.rope_theta = json_number_or(text, "rope_theta", where, c.rope_theta);
  c.mrope_section = {16, 24, 24};
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!text.contains(key) || text[key].is_null()) continue;
    const Json& rope = text[key];
    const std::string rope_where = where + ": " + key;
    c.rope_theta = json_number_or(rope, "rope_theta", rope_where, c.rope_theta);
    const char* type_key = rope.contains("rope_type") ? "rope_type" : "type";
    const std::string type = json_string_or(rope, type_key, rope_where, "default");
    if (type != "default" && type != "mrope") {
      throw_error(ErrorCode::kUnsupported, "{}: '{}' is '{}', expected 'default' or 'mrope'",
                  rope_where, type_key, type);
    }
    if (rope.contains("mrope_section")) {
      const Json& section = rope["mrope_section"];
      if (!section.is_array() || section.size() != 3) {
        throw_error(ErrorCode::kFormat, "{}: 'mrope_section' must be three integers", rope_where);
      }
      for (std::size_t i = 0; i < 3; ++i) {
        if (!section[i].is_number_unsigned() || section[i].get<std::uint64_t>() > kMaxWidth) {
          throw_error(ErrorCode::kFormat, "{}: 'mrope_section' must be three integers of 0 to {}",
                      rope_where, kMaxWidth);
        }
        c.mrope_section[i] = section[i].get<std::int64_t>();
      }
    }
  }
}

void check_sizes(const std::string& where, const DecoderConfig& c) {
  if (c.num_attention_heads % c.num_key_value_heads != 0) {
    throw_error(ErrorCode::kFormat,
                "{}: num_attention_heads {} is not a multiple of num_key_value_heads {}", where,
                c.num_attention_heads, c.num_key_value_heads);
  }
  if (c.head_dim * c.num_attention_heads != c.hidden_size || c.head_dim % 2 != 0) {
    throw_error(
        ErrorCode::kFormat,
        "{}: hidden_size {} must be num_attention_heads {} times an even head_dim, found {}", where,
        c.hidden_size, c.num_attention_heads, c.head_dim);
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

}  // namespace

DecoderConfig load_decoder_config(const std::filesystem::path& model_dir, const Limits& limits) {
  const std::filesystem::path path = model_dir / "config.json";
  const Json root = read_json_file(path, limits);
  const bool nested = root.is_object() && root.contains("text_config");
  const Json& text = nested ? root["text_config"] : root;
  const std::string where = path.string() + (nested ? ": text_config" : "");

  DecoderConfig c;
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
  read_rope(text, where, c);
  c.tie_word_embeddings = json_bool_or(root, "tie_word_embeddings", path.string(),
                                       json_bool_or(text, "tie_word_embeddings", where, false));
  const auto token = [&](const char* key) {
    return static_cast<TokenId>(
        json_int_or(root, key, path.string(), 0, c.vocab_size - 1, TokenId{-1}));
  };
  c.vision_tokens = {token("image_token_id"), token("video_token_id")};
  const std::string act = json_string_or(text, "hidden_act", where, "silu");
  if (act != "silu") {
    throw_error(ErrorCode::kUnsupported, "{}: 'hidden_act' is '{}', expected 'silu'", where, act);
  }
  if (json_bool_or(text, "use_sliding_window", where, false)) {
    throw_error(ErrorCode::kUnsupported, "{}: 'use_sliding_window' is true, expected false", where);
  }
  check_sizes(where, c);
  return c;
}

}  // namespace reelm::llm::qwen2_vl
