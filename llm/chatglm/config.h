// Sizes of the first ChatGLM (ChatGLM-6B).
#pragma once

#include <cstdint>

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../tokenizer.h"

namespace reelm::llm::chatglm {

/// What the decoder is wired from, in the words of config.json.
struct DecoderConfig {
  std::int64_t hidden_size = 0;
  std::int64_t inner_hidden_size = 0;
  std::int64_t num_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t head_dim = 0;  // hidden_size / num_attention_heads
  std::int64_t vocab_size = 0;
  std::int64_t max_sequence_length = 0;
  double layernorm_epsilon = 1e-5;
  TokenId bos_token_id = -1;    // <sop>: what is before it is the context
  TokenId gmask_token_id = -1;  // [gMASK]: whose position all that is generated has
};

/// Reads config.json of a model of the family chatglm without multi_query_group_num
/// (configuration_chatglm.py of ChatGLM-6B). Throws Error naming the key, what was found and what
/// was expected: kUnsupported for 1-D positions, quantised checkpoints (quantization_bit) and
/// P-tuning prefixes (pre_seq_len).
DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::chatglm
