// Rows of the report of `reelm verify`. Not installed.
#pragma once

#include <span>
#include <string>

#include "pipeline/verify.h"

namespace reelm::pipeline {

/// Differences of two float arrays, without a bound yet; NaN when the sizes differ, which the stage
/// then says.
VerifyRow compare(std::string stage, std::span<const float> ours, std::span<const float> reference);

/// The row passes within this relative L2. NaN and infinity fail.
VerifyRow with_l2_bound(VerifyRow row, double bound);

}  // namespace reelm::pipeline
