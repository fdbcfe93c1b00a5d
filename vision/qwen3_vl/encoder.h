// Qwen3-VL's vision transformer on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../encoder.h"
#include "config.h"

namespace reelm::vision::qwen3_vl {

/// Loads and packs the tower's weights. Throws Error as load_vision_weights.
std::unique_ptr<VisionEncoder> make_encoder(const VisionConfig& config,
                                            const layers::WeightReader& reader,
                                            kernels::ComputeType type);

}  // namespace reelm::vision::qwen3_vl
