// Weights of the first ChatGLM.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "../../core/aligned_buffer.h"
#include "../../layers/weight_reader.h"
#include "config.h"

namespace reelm::llm::chatglm {

struct LayerNorm {
  AlignedBuffer<float> weight, bias;  // [hidden_size] each

  std::size_t size_bytes() const noexcept { return weight.size_bytes() + bias.size_bytes(); }
};

struct LayerWeights {
  LayerNorm input_layernorm;
  layers::Linear query_key_value;  // [heads * 3 * head_dim, hidden_size]: q, k, v of a head
  layers::Linear dense;            // [hidden_size, hidden_size]
  LayerNorm post_attention_layernorm;
  layers::Linear dense_h_to_4h;  // [inner_hidden_size, hidden_size]
  layers::Linear dense_4h_to_h;  // [hidden_size, inner_hidden_size]
};

struct DecoderWeights {
  kernels::StoredMatrix word_embeddings;  // [vocab_size, hidden_size], in the checkpoint's mapping
  std::vector<LayerWeights> layers;       // [num_layers]
  LayerNorm final_layernorm;
  layers::Linear lm_head;  // [vocab_size, hidden_size]

  std::size_t size_bytes() const noexcept;
};

/// Reads `transformer.*` and `lm_head`, which is int8 with kInt4: it decides between tokens
/// directly. Throws Error naming file, tensor, found and expected.
DecoderWeights load_decoder_weights(const layers::WeightReader& reader, const DecoderConfig& config,
                                    kernels::ComputeType type);

}  // namespace reelm::llm::chatglm
