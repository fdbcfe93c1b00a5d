#include "llm/qwen2/weights.h"

#include <array>
#include <string>

namespace reelm::llm::qwen2 {

namespace {

LayerWeights load_qwen2_layer(const layers::WeightReader& reader, const DecoderConfig& c,
                              const std::string& prefix, kernels::ComputeType type) {
  return load_layer(reader, c, prefix, /*qkv_bias=*/true, type);
}

}  // namespace

LayerWeights load_layer(const layers::WeightReader& reader, const DecoderConfig& c,
                        const std::string& prefix, bool qkv_bias, kernels::ComputeType type) {
  const std::int64_t q_rows = c.num_attention_heads * c.head_dim;
  const std::int64_t kv_rows = c.num_key_value_heads * c.head_dim;
  const std::string attn = prefix + "self_attn.";
  const std::string mlp = prefix + "mlp.";
  const std::array<layers::LinearPart, 3> qkv = {{
      {attn + "q_proj", q_rows, c.hidden_size},
      {attn + "k_proj", kv_rows, c.hidden_size},
      {attn + "v_proj", kv_rows, c.hidden_size},
  }};
  LayerWeights w;
  w.input_layernorm = reader.vector(prefix + "input_layernorm.weight", c.hidden_size);
  w.qkv = reader.linear(qkv, qkv_bias, type);
  w.o_proj = reader.linear({attn + "o_proj", c.hidden_size, q_rows}, false, type);
  w.post_attention_layernorm =
      reader.vector(prefix + "post_attention_layernorm.weight", c.hidden_size);
  w.gate_up = reader.gated({mlp + "gate_proj", c.intermediate_size, c.hidden_size},
                           {mlp + "up_proj", c.intermediate_size, c.hidden_size}, false, type);
  w.down_proj = reader.linear({mlp + "down_proj", c.hidden_size, c.intermediate_size}, false, type);
  return w;
}

std::size_t DecoderWeights::size_bytes() const noexcept {
  std::size_t total = norm.size_bytes() + lm_head.size_bytes();
  for (const LayerWeights& w : layers) {
    total += w.input_layernorm.size_bytes() + w.qkv.size_bytes() + w.o_proj.size_bytes() +
             w.post_attention_layernorm.size_bytes() + w.gate_up.size_bytes() +
             w.down_proj.size_bytes() + w.q_norm.size_bytes() + w.k_norm.size_bytes();
  }
  return total;
}

kernels::ComputeType head_type(kernels::ComputeType type) noexcept {
  return type == kernels::ComputeType::kInt4 ? kernels::ComputeType::kInt8 : type;
}

layers::Linear load_head(const layers::WeightReader& reader, const DecoderConfig& c,
                         const std::string& embeddings, kernels::ComputeType type) {
  const kernels::ComputeType head = head_type(type);
  if (!c.tie_word_embeddings) {
    return reader.linear({"lm_head", c.vocab_size, c.hidden_size}, false, head);
  }
  layers::Linear out;
  out.weight = reader.weight(embeddings + ".weight", {c.vocab_size, c.hidden_size}, head);
  return out;
}

DecoderWeights load_decoder_weights(const layers::WeightReader& reader, const DecoderConfig& c,
                                    kernels::ComputeType type, LayerLoader load) {
  if (load == nullptr) load = load_qwen2_layer;
  // Newer transformers nests the decoder under `model.language_model.`.
  const std::string model =
      reader.has("model.language_model.embed_tokens.weight") ? "model.language_model." : "model.";
  DecoderWeights w;
  w.embed_tokens = reader.matrix(model + "embed_tokens.weight", {c.vocab_size, c.hidden_size});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    w.layers.push_back(load(reader, c, model + "layers." + std::to_string(i) + ".", type));
  }
  w.norm = reader.vector(model + "norm.weight", c.hidden_size);
  w.lm_head = load_head(reader, c, model + "embed_tokens", type);
  return w;
}

}  // namespace reelm::llm::qwen2
