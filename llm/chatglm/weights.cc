#include "llm/chatglm/weights.h"

namespace reelm::llm::chatglm {

namespace {

LayerNorm load_norm(const layers::WeightReader& reader, const DecoderConfig& c,
                    const std::string& prefix) {
  return {reader.vector(prefix + ".weight", c.hidden_size),
          reader.vector(prefix + ".bias", c.hidden_size)};
}

LayerWeights load_layer(const layers::WeightReader& reader, const DecoderConfig& c,
                        const std::string& prefix, kernels::ComputeType type) {
  const auto linear = [&](const char* name, std::int64_t rows, std::int64_t columns) {
    return reader.linear({prefix + name, rows, columns}, /*has_bias=*/true, type);
  };
  LayerWeights w;
  w.input_layernorm = load_norm(reader, c, prefix + "input_layernorm");
  w.query_key_value = linear("attention.query_key_value", 3 * c.hidden_size, c.hidden_size);
  w.dense = linear("attention.dense", c.hidden_size, c.hidden_size);
  w.post_attention_layernorm = load_norm(reader, c, prefix + "post_attention_layernorm");
  w.dense_h_to_4h = linear("mlp.dense_h_to_4h", c.inner_hidden_size, c.hidden_size);
  w.dense_4h_to_h = linear("mlp.dense_4h_to_h", c.hidden_size, c.inner_hidden_size);
  return w;
}

}  // namespace

std::size_t DecoderWeights::size_bytes() const noexcept {
  std::size_t total = final_layernorm.size_bytes() + lm_head.size_bytes();
  for (const LayerWeights& w : layers) {
    total += w.input_layernorm.size_bytes() + w.query_key_value.size_bytes() +
             w.dense.size_bytes() + w.post_attention_layernorm.size_bytes() +
             w.dense_h_to_4h.size_bytes() + w.dense_4h_to_h.size_bytes();
  }
  return total;
}

DecoderWeights load_decoder_weights(const layers::WeightReader& reader, const DecoderConfig& c,
                                    kernels::ComputeType type) {
  const std::string model = "transformer.";
  DecoderWeights w;
  w.word_embeddings =
      reader.matrix(model + "word_embeddings.weight", {c.vocab_size, c.hidden_size});
  for (std::int64_t i = 0; i < c.num_layers; ++i) {
    w.layers.push_back(load_layer(reader, c, model + "layers." + std::to_string(i) + ".", type));
  }
  w.final_layernorm = load_norm(reader, c, model + "final_layernorm");
  const auto head = type == kernels::ComputeType::kInt4 ? kernels::ComputeType::kInt8 : type;
  w.lm_head = reader.linear({"lm_head", c.vocab_size, c.hidden_size}, false, head);
  return w;
}

}  // namespace reelm::llm::chatglm
