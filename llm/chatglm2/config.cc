#include "llm/chatglm2/config.h"

#include "core/throw.h"
#include "llm/chatglm2/version.h"
#include "llm/qwen2/config_reader.h"

namespace reelm::llm::chatglm2 {

namespace {

struct Switch {
  const char* key;
  bool missing;   // its value where config.json does not have it (configuration_chatglm.py)
  bool expected;  // what this decoder does
};
constexpr Switch kSwitches[] = {{"add_bias_linear", false, false},
                                {"apply_residual_connection_post_layernorm", false, false},
                                {"multi_query_attention", false, true},
                                {"original_rope", true, true},
                                {"post_layer_norm", true, true},
                                {"rmsnorm", true, true}};

void check_supported(const Json& root, const std::string& where) {
  for (const Switch& s : kSwitches) {
    if (const bool found = json_bool_or(root, s.key, where, s.missing); found != s.expected) {
      throw_error(ErrorCode::kUnsupported, "{}: '{}' is {}, expected {}", where, s.key, found,
                  s.expected);
    }
  }
  if (const auto bits = json_int_or(root, "quantization_bit", where, 0, 64, 0); bits != 0) {
    throw_error(ErrorCode::kUnsupported,
                "{}: 'quantization_bit' is {}, expected 0: the original weights", where, bits);
  }
  for (const char* key : {"pre_seq_len", "vision_config"}) {
    if (!root.is_object() || !root.contains(key) || root[key].is_null()) continue;
    throw_error(ErrorCode::kUnsupported, "{}: has '{}', expected a model of text only, untuned",
                where, key);
  }
}

/// rope_ratio, and what the version does with it.
void read_rope(const Json& root, const std::string& where, Version version, DecoderConfig& out) {
  const double ratio = json_number_or(root, "rope_ratio", where, 1.0);
  if (!(ratio >= 1.0 && ratio <= 1e6)) {
    throw_error(ErrorCode::kFormat, "{}: 'rope_ratio' is {}, expected 1 to 1000000", where, ratio);
  }
  out.decoder.rope_theta = 10'000.0;
  if (version == Version::kChatGlm3) {
    out.decoder.rope_theta *= ratio;
  } else {
    out.position_divisor = ratio;
  }
}

}  // namespace

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const std::string where = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  check_supported(root, where);
  DecoderConfig out;
  qwen2::DecoderConfig& c = out.decoder;
  c.hidden_size = json_int(root, "hidden_size", where, 1, qwen2::kMaxWidth);
  c.intermediate_size = json_int(root, "ffn_hidden_size", where, 1, qwen2::kMaxWidth);
  c.num_hidden_layers = json_int(root, "num_layers", where, 1, qwen2::kMaxLayers);
  c.num_attention_heads = json_int(root, "num_attention_heads", where, 1, qwen2::kMaxWidth);
  c.num_key_value_heads = json_int(root, kConfigKey, where, 1, qwen2::kMaxWidth);
  c.head_dim = json_int_or(root, "kv_channels", where, 4, qwen2::kMaxWidth,
                           c.hidden_size / c.num_attention_heads);
  c.vocab_size = json_int(root, "padded_vocab_size", where, 1, qwen2::kMaxVocabulary);
  c.max_position_embeddings = json_int_or(root, "seq_length", where, 1, qwen2::kMaxPositions, 2048);
  c.rms_norm_eps = json_number_or(root, "layernorm_epsilon", where, 1e-5);
  c.mrope_section = {c.head_dim / 2, 0, 0};
  read_rope(root, where, find_version(files, limits).value_or(Version::kChatGlm2), out);
  qwen2::check_hidden_size(c, where);
  qwen2::check_decoder_config(c, where);
  if (c.head_dim % 4 != 0) {
    throw_error(ErrorCode::kFormat, "{}: a head has {} channels, expected a multiple of 4", where,
                c.head_dim);
  }
  out.add_qkv_bias = json_bool_or(root, "add_qkv_bias", where, false);
  return out;
}

}  // namespace reelm::llm::chatglm2
