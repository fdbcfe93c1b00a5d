// Qwen3-VL's decoder on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm::qwen3_vl {

/// The Qwen2 decoder without biases, and with q_norm and k_norm in every layer. Throws Error naming
/// file, tensor, found and expected.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::qwen3_vl
