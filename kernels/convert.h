// Copies between element types.
#pragma once

#include <cstdint>

#include "../core/dtype.h"

namespace reelm::kernels {

/// n elements, any alignment. Rounds to nearest even where the target is narrower.
void convert(const float* from, bf16_t* to, std::int64_t n);
void convert(const bf16_t* from, float* to, std::int64_t n);
void convert(const f16_t* from, float* to, std::int64_t n);

}  // namespace reelm::kernels
