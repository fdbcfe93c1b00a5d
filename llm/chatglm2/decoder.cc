#include "llm/chatglm2/decoder.h"

#include <string>

#include "llm/chatglm2/rotary.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen2/weights.h"

namespace reelm::llm::chatglm2 {

namespace {

qwen2::LayerWeights load_layer(const layers::WeightReader& reader, const DecoderConfig& config,
                               const layers::RowOrder& order, const std::string& prefix,
                               kernels::ComputeType type) {
  const qwen2::DecoderConfig& c = config.decoder;
  const std::int64_t width = c.num_attention_heads * c.head_dim;
  const std::int64_t qkv = width + 2 * c.num_key_value_heads * c.head_dim;
  const std::string attention = prefix + "self_attention.";
  const std::string mlp = prefix + "mlp.";
  qwen2::LayerWeights w;
  w.input_layernorm = reader.vector(prefix + "input_layernorm.weight", c.hidden_size);
  w.qkv = reader.linear({attention + "query_key_value", qkv, c.hidden_size}, order,
                        config.add_qkv_bias, type);
  w.o_proj = reader.linear({attention + "dense", c.hidden_size, width}, false, type);
  w.post_attention_layernorm =
      reader.vector(prefix + "post_attention_layernorm.weight", c.hidden_size);
  w.gate_up = reader.gated({mlp + "dense_h_to_4h", 2 * c.intermediate_size, c.hidden_size}, type);
  w.down_proj =
      reader.linear({mlp + "dense_4h_to_h", c.hidden_size, c.intermediate_size}, false, type);
  return w;
}

qwen2::DecoderWeights load_weights(const layers::WeightReader& reader, const DecoderConfig& config,
                                   kernels::ComputeType type) {
  const qwen2::DecoderConfig& c = config.decoder;
  const std::string model = "transformer.";
  const layers::RowOrder order = query_key_value_order(c);
  qwen2::DecoderWeights w;
  w.embed_tokens =
      reader.matrix(model + "embedding.word_embeddings.weight", {c.vocab_size, c.hidden_size});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    w.layers.push_back(load_layer(reader, config, order,
                                  model + "encoder.layers." + std::to_string(i) + ".", type));
  }
  w.norm = reader.vector(model + "encoder.final_layernorm.weight", c.hidden_size);
  w.lm_head = reader.linear({model + "output_layer", c.vocab_size, c.hidden_size}, false,
                            qwen2::head_type(type));
  return w;
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type) {
  return qwen2::make_decoder(config.decoder, reader.checkpoint(),
                             load_weights(reader, config, type),
                             std::make_shared<const HalfRotaryEncoding>(config), type);
}

}  // namespace reelm::llm::chatglm2
