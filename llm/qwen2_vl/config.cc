#include "llm/qwen2_vl/config.h"

#include "core/throw.h"
#include "llm/qwen2/config_reader.h"

namespace reelm::llm::qwen2_vl {

namespace {

std::vector<std::int64_t> read_mrope_section(const Json& text, const std::string& where) {
  std::vector<std::int64_t> out = {16, 24, 24};
  for (const char* key : qwen2::kRopeKeys) {
    if (!text.contains(key) || !text[key].contains("mrope_section")) continue;
    const Json& section = text[key]["mrope_section"];
    const std::string rope_where = where + ": " + key;
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

}  // namespace

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const std::string file = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  const bool nested = root.is_object() && root.contains("text_config");
  const Json& text = nested ? root["text_config"] : root;
  const std::string where = file + (nested ? ": text_config" : "");

  DecoderConfig c = qwen2::read_decoder_config(text, where, {"default", "mrope"}, 1'000'000.0);
  c.mrope_section = read_mrope_section(text, where);
  c.tie_word_embeddings = json_bool_or(root, "tie_word_embeddings", file, c.tie_word_embeddings);
  const auto token = [&](const char* key) {
    return static_cast<TokenId>(json_int_or(root, key, file, 0, c.vocab_size - 1, TokenId{-1}));
  };
  c.vision_tokens = {token("image_token_id"), token("video_token_id")};
  qwen2::check_decoder_config(c, where);
  return c;
}

}  // namespace reelm::llm::qwen2_vl
