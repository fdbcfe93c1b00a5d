#include "llm/qwen/decoder.h"

#include <string>

#include "llm/qwen/positions.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen2/weights.h"

namespace reelm::llm::qwen {

namespace {

qwen2::LayerWeights load_layer(const layers::WeightReader& reader, const qwen2::DecoderConfig& c,
                               const std::string& prefix, kernels::ComputeType type) {
  const std::int64_t width = c.num_attention_heads * c.head_dim;
  const std::string mlp = prefix + "mlp.";
  qwen2::LayerWeights w;
  w.input_layernorm = reader.vector(prefix + "ln_1.weight", c.hidden_size);
  w.qkv = reader.linear({prefix + "attn.c_attn", 3 * width, c.hidden_size}, true, type);
  w.o_proj = reader.linear({prefix + "attn.c_proj", c.hidden_size, width}, false, type);
  w.post_attention_layernorm = reader.vector(prefix + "ln_2.weight", c.hidden_size);
  w.gate_up = reader.gated({mlp + "w2", c.intermediate_size, c.hidden_size},
                           {mlp + "w1", c.intermediate_size, c.hidden_size}, false, type);
  w.down_proj = reader.linear({mlp + "c_proj", c.hidden_size, c.intermediate_size}, false, type);
  return w;
}

qwen2::DecoderWeights load_weights(const layers::WeightReader& reader,
                                   const qwen2::DecoderConfig& c, kernels::ComputeType type) {
  const std::string model = "transformer.";
  qwen2::DecoderWeights w;
  w.embed_tokens = reader.matrix(model + "wte.weight", {c.vocab_size, c.hidden_size});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    w.layers.push_back(load_layer(reader, c, model + "h." + std::to_string(i) + ".", type));
  }
  w.norm = reader.vector(model + "ln_f.weight", c.hidden_size);
  w.lm_head = qwen2::load_head(reader, c, model + "wte", type);
  return w;
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type) {
  return qwen2::make_decoder(config.decoder, reader.checkpoint(),
                             load_weights(reader, config.decoder, type),
                             std::make_shared<const LongPromptEncoding>(config), type);
}

}  // namespace reelm::llm::qwen
