// Weights of the Qwen2 decoder.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "../../core/aligned_buffer.h"
#include "../../layers/weight_reader.h"
#include "config.h"

namespace reelm::llm::qwen2 {

struct LayerWeights {
  AlignedBuffer<float> input_layernorm;  // [hidden_size]
  layers::Linear qkv;                    // [(heads + 2 * kv_heads) * head_dim, hidden_size]
  AlignedBuffer<float> q_norm, k_norm;   // [head_dim], empty in families that do not norm heads
  layers::Linear o_proj;                 // [hidden_size, heads * head_dim]
  AlignedBuffer<float> post_attention_layernorm;  // [hidden_size]
  layers::Linear gate_up;                         // [2 * intermediate_size, hidden_size], gated
  layers::Linear down_proj;                       // [hidden_size, intermediate_size]
};

struct DecoderWeights {
  kernels::StoredMatrix embed_tokens;  // [vocab_size, hidden_size], in the checkpoint's mapping
  std::vector<LayerWeights> layers;    // [num_hidden_layers]
  AlignedBuffer<float> norm;           // [hidden_size]
  layers::Linear lm_head;              // [vocab_size, hidden_size]

  std::size_t size_bytes() const noexcept;
};

/// The type of the head beside that of the layers: with kInt4 it is kInt8, as it decides between
/// tokens directly, and is a seventh of the 2B model's weights.
kernels::ComputeType head_type(kernels::ComputeType type) noexcept;

/// `lm_head`; with tie_word_embeddings the matrix `embeddings` serves as the head, as in
/// transformers, even where the file has an `lm_head.weight`. Of head_type(type). Throws Error
/// naming file, tensor, found and expected.
layers::Linear load_head(const layers::WeightReader& reader, const DecoderConfig& config,
                         const std::string& embeddings, kernels::ComputeType type);

/// The layer whose tensors' names begin with `prefix`, without q_norm and k_norm; `qkv_bias`: its
/// projections to queries, keys and values have biases. Throws as load_head.
LayerWeights load_layer(const layers::WeightReader& reader, const DecoderConfig& config,
                        const std::string& prefix, bool qkv_bias, kernels::ComputeType type);

/// How a family reads a layer: as load_layer, which has one argument more.
using LayerLoader = LayerWeights (*)(const layers::WeightReader& reader,
                                     const DecoderConfig& config, const std::string& prefix,
                                     kernels::ComputeType type);

/// Reads `model.*` or `model.language_model.*`, layers by `load`: those of Qwen2 unless it is
/// another's. Throws as load_head.
DecoderWeights load_decoder_weights(const layers::WeightReader& reader, const DecoderConfig& config,
                                    kernels::ComputeType type, LayerLoader load = nullptr);

}  // namespace reelm::llm::qwen2
