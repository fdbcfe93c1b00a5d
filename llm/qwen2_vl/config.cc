#include "llm/qwen2_vl/config.h"

#include "core/throw.h"
#include "llm/qwen2/config_reader.h"
#include "llm/qwen2_vl/config_reader.h"

namespace reelm::llm::qwen2_vl {

TextJson read_text_json(const ModelFiles& files, const Limits& limits) {
  const std::string file = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  const bool nested = root.is_object() && root.contains("text_config");
  return {root, nested ? root["text_config"] : root, file, file + (nested ? ": text_config" : "")};
}

std::array<std::int64_t, 3> read_mrope_section(const TextJson& json,
                                               std::array<std::int64_t, 3> otherwise) {
  const Json& text = json.text;
  std::array<std::int64_t, 3> out = otherwise;
  for (const char* key : qwen2::kRopeKeys) {
    if (!text.contains(key) || !text[key].contains("mrope_section")) continue;
    const Json& section = text[key]["mrope_section"];
    const std::string rope_where = json.where + ": " + key;
    if (!section.is_array() || section.size() != 3) {
      throw_error(ErrorCode::kFormat, "{}: 'mrope_section' must be three integers", rope_where);
    }
    for (std::size_t i = 0; i < 3; ++i) {
      if (!section[i].is_number_unsigned() ||
          section[i].get<std::uint64_t>() > static_cast<std::uint64_t>(qwen2::kMaxWidth)) {
        throw_error(ErrorCode::kFormat, "{}: 'mrope_section' must be three integers of 0 to {}",
                    rope_where, qwen2::kMaxWidth);
      }
      out[i] = section[i].get<std::int64_t>();
    }
  }
  return out;
}

void read_root(const TextJson& json, qwen2::DecoderConfig& c) {
  const auto& [root, text, file, where] = json;
  c.tie_word_embeddings = json_bool_or(root, "tie_word_embeddings", file, c.tie_word_embeddings);
  c.vision_tokens = {static_cast<TokenId>(json_int_or(root, "image_token_id", file, 0,
                                                      c.vocab_size - 1, TokenId{-1})),
                     static_cast<TokenId>(json_int_or(root, "video_token_id", file, 0,
                                                      c.vocab_size - 1, TokenId{-1}))};
}

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const TextJson json = read_text_json(files, limits);
  DecoderConfig c =
      qwen2::read_decoder_config(json.text, json.where, {"default", "mrope"}, 1'000'000.0);
  const auto section = read_mrope_section(json, {16, 24, 24});
  c.mrope_section.assign(section.begin(), section.end());
  read_root(json, c);
  qwen2::check_hidden_size(c, json.where);
  qwen2::check_decoder_config(c, json.where);
  return c;
}

}  // namespace reelm::llm::qwen2_vl
