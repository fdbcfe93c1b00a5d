#include "llm/qwen/config.h"

#include "core/throw.h"
#include "llm/qwen2/config_reader.h"

namespace reelm::llm::qwen {

namespace {

void check_supported(const Json& root, const std::string& where) {
  for (const char* tower : {"visual", "audio"}) {  // of Qwen-VL and Qwen-Audio, the same model_type
    if (!root.is_object() || !root.contains(tower)) continue;
    throw_error(ErrorCode::kUnsupported, "{}: has '{}', expected a model of text only", where,
                tower);
  }
  for (const char* key : {"no_bias", "scale_attn_weights"}) {
    if (json_bool_or(root, key, where, true)) continue;
    throw_error(ErrorCode::kUnsupported, "{}: '{}' is false, expected true", where, key);
  }
  if (const double pct = json_number_or(root, "rotary_pct", where, 1.0); pct != 1.0) {
    throw_error(ErrorCode::kUnsupported, "{}: 'rotary_pct' is {}, expected 1", where, pct);
  }
}

/// The size of the two matrices before the gate.
std::int64_t read_intermediate_size(const Json& root, const std::string& where) {
  const std::int64_t both = json_int(root, "intermediate_size", where, 2, 2 * qwen2::kMaxWidth);
  if (both % 2 != 0) {
    throw_error(ErrorCode::kFormat, "{}: intermediate_size {} is odd, expected that of w1 and w2",
                where, both);
  }
  return both / 2;
}

}  // namespace

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const std::string where = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  check_supported(root, where);
  DecoderConfig out;
  qwen2::DecoderConfig& c = out.decoder;
  c.hidden_size = json_int(root, "hidden_size", where, 1, qwen2::kMaxWidth);
  c.intermediate_size = read_intermediate_size(root, where);
  c.num_hidden_layers = json_int(root, "num_hidden_layers", where, 1, qwen2::kMaxLayers);
  c.num_attention_heads = json_int(root, "num_attention_heads", where, 1, qwen2::kMaxWidth);
  c.num_key_value_heads = c.num_attention_heads;
  c.head_dim = json_int_or(root, "kv_channels", where, 4, qwen2::kMaxWidth, 128);
  c.vocab_size = json_int(root, "vocab_size", where, 1, qwen2::kMaxVocabulary);
  c.max_position_embeddings =
      json_int_or(root, "max_position_embeddings", where, 1, qwen2::kMaxPositions, 8192);
  c.rms_norm_eps = json_number_or(root, "layer_norm_epsilon", where, c.rms_norm_eps);
  c.rope_theta = json_number_or(root, "rotary_emb_base", where, 10'000.0);
  c.mrope_section = {c.head_dim / 2, 0, 0};
  c.tie_word_embeddings = json_bool_or(root, "tie_word_embeddings", where, false);
  qwen2::check_hidden_size(c, where);
  qwen2::check_decoder_config(c, where);
  out.seq_length = json_int(root, "seq_length", where, 2, qwen2::kMaxPositions);
  out.use_dynamic_ntk = json_bool_or(root, "use_dynamic_ntk", where, true);
  out.use_logn_attn = json_bool_or(root, "use_logn_attn", where, true);
  return out;
}

}  // namespace reelm::llm::qwen
