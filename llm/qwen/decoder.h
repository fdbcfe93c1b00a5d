// The decoder of the first Qwen on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm::qwen {

/// The Qwen2 decoder over `transformer.*`: c_attn is its query, key and value projection stacked,
/// w2 its gate and w1 what is gated. Throws Error naming file, tensor, found and expected.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::qwen
