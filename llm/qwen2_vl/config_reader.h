// The keys of config.json that families of Qwen2-VL's layout share. Not installed.
#pragma once

#include <array>
#include <string>

#include "core/json.h"
#include "core/model_files.h"
#include "llm/qwen2/config.h"

namespace reelm::llm::qwen2_vl {

/// config.json, and the object in it that describes the language model: `text_config`, or all of it
/// in the flat layout.
struct TextJson {
  Json root;
  Json text;
  std::string file;   ///< how errors name config.json
  std::string where;  ///< and the object
};

/// Throws what reading config.json throws.
TextJson read_text_json(const ModelFiles& files, const Limits& limits);

/// `mrope_section` of the rotary embedding; `otherwise` where there is none. Throws Error{kFormat}.
std::array<std::int64_t, 3> read_mrope_section(const TextJson& json,
                                               std::array<std::int64_t, 3> otherwise);

/// tie_word_embeddings, which the whole may say for the language model, and the ids of placeholder
/// tokens. Throws Error{kFormat}.
void read_root(const TextJson& json, qwen2::DecoderConfig& config);

}  // namespace reelm::llm::qwen2_vl
