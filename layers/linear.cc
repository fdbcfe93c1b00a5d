#include "layers/linear.h"

#include <cstring>
#include <vector>

#include "kernels/convert.h"

namespace reelm::layers {

kernels::StoredMatrix stored_matrix(const Checkpoint& checkpoint, const std::string& name,
                                    std::initializer_list<std::int64_t> shape) {
  const std::vector<std::int64_t> expected(shape);
  const StoredTensor& tensor = checkpoint.get(name, expected);
  std::int64_t cols = 1;
  for (std::size_t d = 1; d < expected.size(); ++d) cols *= expected[d];
  return {tensor.bytes.data(), tensor.dtype, expected[0], cols};
}

void copy_elements(const kernels::StoredMatrix& matrix, std::int64_t offset, std::int64_t n,
                   float* out) {
  const auto* bytes = static_cast<const std::byte*>(matrix.data) +
                      static_cast<std::size_t>(offset) * dtype_size(matrix.dtype);
  switch (matrix.dtype) {
    case DType::kF32:
      std::memcpy(out, bytes, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::kBF16:
      kernels::convert(reinterpret_cast<const bf16_t*>(bytes), out, n);
      return;
    case DType::kF16:
      kernels::convert(reinterpret_cast<const f16_t*>(bytes), out, n);
      return;
    default:
      REELM_CHECK(false);  // Checkpoint::get hands out floats only
  }
}

AlignedBuffer<float> load_vector(const Checkpoint& checkpoint, const std::string& name,
                                 std::int64_t size) {
  const kernels::StoredMatrix stored = stored_matrix(checkpoint, name, {size});
  AlignedBuffer<float> out(static_cast<std::size_t>(size));
  copy_elements(stored, 0, size, out.data());
  return out;
}

Linear load_linear(const Checkpoint& checkpoint, std::span<const LinearPart> parts, bool has_bias,
                   kernels::ComputeType type) {
  std::vector<kernels::StoredMatrix> stored;
  std::int64_t out_features = 0;
  for (const LinearPart& part : parts) {
    stored.push_back(
        stored_matrix(checkpoint, part.prefix + ".weight", {part.out_features, part.in_features}));
    out_features += part.out_features;
  }
  Linear linear;
  if (has_bias) {
    linear.bias = AlignedBuffer<float>(static_cast<std::size_t>(out_features));
    float* out = linear.bias.data();
    for (const LinearPart& part : parts) {
      copy_elements(stored_matrix(checkpoint, part.prefix + ".bias", {part.out_features}), 0,
                    part.out_features, out);
      out += part.out_features;
    }
  }
  linear.weight = kernels::PackedMatrix(stored, type);
  return linear;
}

Linear load_linear(const Checkpoint& checkpoint, const LinearPart& part, bool has_bias,
                   kernels::ComputeType type) {
  return load_linear(checkpoint, std::span(&part, 1), has_bias, type);
}

}  // namespace reelm::layers
