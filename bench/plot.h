// A picture of a run: where the time goes, and how far each stage is from the roofline.
#pragma once

#include <cstddef>
#include <vector>

#include "bench/report.h"

namespace reelm::bench {

/// A PNG: on the left a bar a stage with its share of the end to end time, on the right operations
/// per byte against GFLOP/s with the roof of the machine. Throws Error{kOutOfMemory}.
std::vector<std::byte> plot_png(const Report& report);

}  // namespace reelm::bench
