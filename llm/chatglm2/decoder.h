// The decoder of ChatGLM2 and ChatGLM3 on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm::chatglm2 {

/// The Qwen2 decoder over `transformer.*`: query_key_value is its query, key and value projection
/// stacked, with rows in the order that its rotary embedding wants; dense_h_to_4h its gate before
/// what is gated. Throws Error naming file, tensor, found and expected.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::chatglm2
