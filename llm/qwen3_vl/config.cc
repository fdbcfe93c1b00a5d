#include "llm/qwen3_vl/config.h"

#include "core/throw.h"
#include "llm/qwen2/config_reader.h"
#include "llm/qwen2_vl/config_reader.h"

namespace reelm::llm::qwen3_vl {

namespace {

void check_supported(const Json& text, const std::string& where) {
  if (json_bool_or(text, "attention_bias", where, false)) {
    throw_error(ErrorCode::kUnsupported, "{}: 'attention_bias' is true, expected false", where);
  }
  for (const char* key : qwen2::kRopeKeys) {
    if (!text.contains(key) || text[key].is_null()) continue;
    const std::string rope_where = where + ": " + key;
    if (json_bool_or(text[key], "mrope_interleaved", rope_where, true)) continue;
    throw_error(ErrorCode::kUnsupported, "{}: 'mrope_interleaved' is false, expected true",
                rope_where);
  }
}

}  // namespace

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const qwen2_vl::TextJson json = qwen2_vl::read_text_json(files, limits);
  const auto& [root, text, file, where] = json;
  DecoderConfig c = qwen2::read_decoder_config(text, where, {"default", "mrope"}, 500'000.0);
  check_supported(text, where);
  c.head_dim = json_int_or(text, "head_dim", where, 1, qwen2::kMaxWidth, 128);
  c.max_position_embeddings =
      json_int_or(text, "max_position_embeddings", where, 1, qwen2::kMaxPositions, 128'000);
  const auto section = qwen2_vl::read_mrope_section(json, {24, 20, 20});
  c.mrope_section.assign(section.begin(), section.end());
  qwen2_vl::read_root(json, c);
  c.qk_norm = true;
  qwen2::check_decoder_config(c, where);
  c.mrope_section = interleaved_mrope_section(section);
  return c;
}

}  // namespace reelm::llm::qwen3_vl
