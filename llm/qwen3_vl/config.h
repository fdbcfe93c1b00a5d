// Sizes of Qwen3-VL's language model: the Qwen2 decoder with a norm of every query and key head,
// heads that are not cut from hidden_size, and an M-RoPE whose frequencies take turns.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../qwen2/config.h"

namespace reelm::llm::qwen3_vl {

using qwen2::DecoderConfig;

/// Reads config.json, all but deepstack_layers, which the vision tower decides. Throws Error naming
/// the key, what was found and what was expected: kUnsupported for biases of attention
/// (attention_bias) and an M-RoPE that is not interleaved. Source: Qwen3VLTextConfig (transformers
/// 5.23).
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::qwen3_vl
