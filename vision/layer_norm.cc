#include "vision/layer_norm.h"

#include "kernels/norm.h"

namespace reelm::vision {

LayerNormWeights load_layer_norm(const layers::WeightReader& reader, const std::string& prefix,
                                 std::int64_t dim) {
  return {reader.vector(prefix + ".weight", dim), reader.vector(prefix + ".bias", dim)};
}

void layer_norm(TensorView<const float> x, const LayerNormWeights& weights, TensorView<float> y) {
  constexpr float kEps = 1e-6f;
  kernels::layer_norm(x, weights.weight.data(), weights.bias.data(), kEps, y);
}

}  // namespace reelm::vision
