// RGB8 frames to normalised patches.
#pragma once

#include <array>
#include <cstdint>

#include "../core/tensor_view.h"
#include "config.h"
#include "resize.h"

namespace reelm::preprocess {

/// Value of every byte after rescale and normalise, per channel: float32 (v - mean*255) / (std*255)
/// with both products in float32, as `rescale_and_normalize` of transformers' torchvision backend
/// computes it. Exact, so patchify is a table lookup.
using NormalizeTable = std::array<std::array<float, 256>, 3>;

/// Throws Error{kInvalidArgument} when a std or rescale_factor is not positive, or a value of the
/// table not finite.
NormalizeTable make_normalize_table(const PreprocessorConfig& config);

/// One temporal slice: `frames` [temporal_patch_size, H, W, 3] (H, W multiples of patch_size *
/// merge_size) to `patches` [(H/patch)*(W/patch), 3*temporal_patch_size*patch_size^2] in the order
/// of Qwen2VLVideoProcessor.patchify: rows (h/m, w/m, m, m), each row [channel, frame, y, x].
void patchify(TensorView<const std::uint8_t> frames, const NormalizeTable& table,
              const PreprocessorConfig& config, TensorView<float> patches);
void patchify(TensorView<const std::uint8_t> frames, const NormalizeTable& table,
              const PreprocessorConfig& config, TensorView<float> patches, VectorIsa isa);

}  // namespace reelm::preprocess
