// The Qwen2 decoder on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm {
class PositionEncoding;
}

namespace reelm::llm::qwen2 {

struct DecoderWeights;

/// Loads and packs the decoder's weights; rows of the embedding table are read from the
/// checkpoint's mapping, which the decoder keeps alive. Throws Error as load_decoder_weights.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

/// The same arithmetic over weights of a family's own names, which are views of `checkpoint`, and
/// its own way with positions: of `config` rope_theta and mrope_section count for nothing.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      std::shared_ptr<const Checkpoint> checkpoint,
                                      DecoderWeights weights,
                                      std::shared_ptr<const PositionEncoding> positions,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::qwen2
