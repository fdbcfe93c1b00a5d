// Sizes of the Qwen2 decoder: the language model of Qwen2 and Qwen2.5, and of families built on it.
#pragma once

#include <cstdint>
#include <vector>

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../mrope.h"

namespace reelm::llm::qwen2 {

/// What the decoder is wired from, in the words of config.json.
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
  double rope_theta = 0.0;
  /// Sums to head_dim / 2: frequencies that turn with t, h and w, as mrope_table takes them.
  /// {head_dim / 2, 0, 0} is the 1-D rotary embedding of the text models.
  std::vector<std::int64_t> mrope_section;
  bool tie_word_embeddings = false;
  bool qk_norm = false;          // every head of queries and keys is normed (LayerWeights::q_norm)
  VisionTokenIds vision_tokens;  // whose rows come from a vision tower; of text models none
  /// First layers behind which a vision row's deep-stack features are added (PromptInput).
  std::int64_t deepstack_layers = 0;
};

/// Reads config.json of a model of the family qwen2. Throws Error naming the key, what
/// was found and what was expected: kUnsupported for sliding windows and scaled rotary embeddings.
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::qwen2
