// Sizes of Qwen2-VL's language model.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "../../core/limits.h"
#include "../mrope.h"

namespace reelm::llm::qwen2_vl {

/// The decoder's part of config.json, in its words.
struct DecoderConfig {
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 1'000'000.0;
  std::vector<std::int64_t> mrope_section;  // [3], sums to head_dim / 2
  bool tie_word_embeddings = false;
  VisionTokenIds vision_tokens;  // image_token_id, video_token_id
};

/// Reads config.json of a model directory in both layouts: flat (`hidden_size` at the top,
/// `rope_scaling.mrope_section`) and nested (`text_config`, `rope_parameters`). Throws Error naming
/// the key, what was found and what was expected.
DecoderConfig load_decoder_config(const std::filesystem::path& model_dir,
                                  const Limits& limits = {});

}  // namespace reelm::llm::qwen2_vl
