// Qwen2-VL's vision transformer on the CPU.
#pragma once

#include <memory>

#include "../../core/safetensors.h"
#include "../../kernels/matmul.h"
#include "../encoder.h"
#include "config.h"

namespace reelm::vision::qwen2_vl {

/// Loads and packs the tower's weights. Throws Error as load_vision_weights.
std::unique_ptr<VisionEncoder> make_encoder(const VisionConfig& config,
                                            const Checkpoint& checkpoint,
                                            kernels::ComputeType type);

}  // namespace reelm::vision::qwen2_vl
