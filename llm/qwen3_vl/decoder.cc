#include "llm/qwen3_vl/decoder.h"

#include <string>

#include "llm/position_encoding.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen2/weights.h"

namespace reelm::llm::qwen3_vl {

namespace {

qwen2::LayerWeights load_layer(const layers::WeightReader& reader, const DecoderConfig& c,
                               const std::string& prefix, kernels::ComputeType type) {
  qwen2::LayerWeights w = qwen2::load_layer(reader, c, prefix, /*qkv_bias=*/false, type);
  w.q_norm = reader.vector(prefix + "self_attn.q_norm.weight", c.head_dim);
  w.k_norm = reader.vector(prefix + "self_attn.k_norm.weight", c.head_dim);
  return w;
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type) {
  return qwen2::make_decoder(config, reader.checkpoint(),
                             qwen2::load_decoder_weights(reader, config, type, load_layer),
                             std::make_shared<const MropeEncoding>(
                                 config.rope_theta, config.head_dim, config.mrope_section),
                             type);
}

}  // namespace reelm::llm::qwen3_vl
