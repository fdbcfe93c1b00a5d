// The Qwen2 decoder on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm::qwen2 {

/// Loads and packs the decoder's weights; rows of the embedding table are read from the
/// checkpoint's mapping, which the decoder keeps alive. Throws Error as load_decoder_weights.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::qwen2
