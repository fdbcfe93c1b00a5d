// Sizes of Qwen2-VL's language model: the Qwen2 decoder with M-RoPE and vision tokens.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../qwen2/config.h"

namespace reelm::llm::qwen2_vl {

using qwen2::DecoderConfig;

/// Reads config.json in both layouts: flat (`hidden_size` at the top,
/// `rope_scaling.mrope_section`) and nested (`text_config`, `rope_parameters`). Throws Error naming
/// the key, what was found and what was expected.
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::qwen2_vl
