// Sizes of ChatGLM2 and ChatGLM3: the Qwen2 decoder under other names, whose rotary embedding turns
// half of each head.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../qwen2/config.h"

namespace reelm::llm::chatglm2 {

struct DecoderConfig {
  /// max_position_embeddings is seq_length; rope_theta that of frequencies of dimension
  /// head_dim / 2.
  qwen2::DecoderConfig decoder;
  /// Positions are divided by it before they turn anything (rope_ratio of ChatGLM2-6B-32K).
  double position_divisor = 1.0;
  bool add_qkv_bias = false;
};

/// Reads config.json of a model of the family chatglm that has multi_query_group_num
/// (configuration_chatglm.py). `rope_ratio` divides positions in ChatGLM2 and multiplies the base
/// of the rotary embedding in ChatGLM3 (version.h). Throws Error naming the key, what was found and
/// what was expected: kUnsupported for biases in all layers (add_bias_linear), LayerNorm (rmsnorm),
/// no norm at the end (post_layer_norm), residuals of what was normed
/// (apply_residual_connection_post_layernorm), weights quantised by the publisher
/// (quantization_bit), prefixes of P-tuning (pre_seq_len), towers (vision_config), and an embedding
/// that is not rotary in pairs (original_rope).
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::chatglm2
