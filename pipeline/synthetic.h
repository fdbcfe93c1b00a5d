// Models of real sizes with made-up weights: to size up a machine before a download, and for tests.
// Not installed.
#pragma once

#include <cstdint>
#include <string_view>

#include "pipeline/model.h"
#include "pipeline/synthetic_sizes.h"

namespace reelm::pipeline {

/// A model of synthetic_sizes(name). kAuto is kBF16. Its tokenizer knows single bytes and the
/// special tokens; nothing ends an answer. The packed weights are as large as real ones; what they
/// are packed from are overlapping windows of one random block as large as the largest tensor (the
/// embeddings: 467 MB for 2B, 1.1 GB for 7B), so that no second copy of the model is ever needed.
/// `seed` decides every weight. Throws Error: kInvalidArgument (an unknown name), kOutOfMemory,
/// with the numbers, when weights and block do not fit into the memory available.
Model make_synthetic_model(std::string_view name, const ModelDtypes& dtypes = {},
                           std::uint64_t seed = 0);

}  // namespace reelm::pipeline
