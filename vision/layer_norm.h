// LayerNorm as vision transformers have it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "../core/aligned_buffer.h"
#include "../core/tensor_view.h"
#include "../layers/weight_reader.h"

namespace reelm::vision {

/// torch.nn.LayerNorm's parameters.
struct LayerNormWeights {
  AlignedBuffer<float> weight;  // [dim]
  AlignedBuffer<float> bias;    // [dim]

  std::size_t size_bytes() const noexcept { return weight.size_bytes() + bias.size_bytes(); }
};

/// `<prefix>.weight` and `<prefix>.bias`. Throws as WeightReader::vector.
LayerNormWeights load_layer_norm(const layers::WeightReader& reader, const std::string& prefix,
                                 std::int64_t dim);

/// y = norm of each row of x; both [m, dim]. With eps = 1e-6, which the reference has in its code,
/// not in its config.
void layer_norm(TensorView<const float> x, const LayerNormWeights& weights, TensorView<float> y);

}  // namespace reelm::vision
