// From an instruction set to its loops. Not installed.
#pragma once

#include "preprocess/resize.h"
#include "preprocess/vector/loops.h"

namespace reelm::preprocess {

/// Throws Error{kUnsupported} when this machine lacks `isa`.
const vector::Loops& loops_of(VectorIsa isa);

}  // namespace reelm::preprocess
