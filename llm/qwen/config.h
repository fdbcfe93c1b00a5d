// Sizes of the first Qwen: the Qwen2 decoder under other names, and what it does to prompts that
// are longer than those it was trained on.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../qwen2/config.h"

namespace reelm::llm::qwen {

struct DecoderConfig {
  /// intermediate_size is that of w1 and w2, half of what config.json says.
  qwen2::DecoderConfig decoder;
  std::int64_t seq_length = 0;  // of training: what comes after is extended as follows
  bool use_dynamic_ntk = false;
  bool use_logn_attn = false;
};

/// Reads config.json of a model of the family qwen (configuration_qwen.py). Throws Error
/// naming the key, what was found and what was expected: kUnsupported for towers (Qwen-VL,
/// Qwen-Audio), biases in all layers (no_bias), a rotary embedding of a part of a head (rotary_pct)
/// and unscaled attention.
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::qwen
