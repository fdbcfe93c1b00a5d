#include "core/stored_tensor.h"

#include <fmt/ranges.h>

#include "core/checked.h"
#include "core/throw.h"

namespace reelm {

namespace {

template <typename T>
const T* find_by_name(const std::vector<T>& tensors, std::string_view name) {
  const auto it =
      std::lower_bound(tensors.begin(), tensors.end(), name,
                       [](const T& tensor, std::string_view n) { return tensor.name < n; });
  return it != tensors.end() && it->name == name ? &*it : nullptr;
}

}  // namespace

std::string shape_string(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::int64_t element_count(std::span<const std::int64_t> shape) {
  std::int64_t n = 1;
  for (const std::int64_t size : shape) n = checked_mul(n, size, "tensor");
  return n;
}

const StoredTensor* find_tensor(const std::vector<StoredTensor>& tensors,
                                const std::vector<OtherTensor>& others, std::string_view name,
                                const std::string& file) {
  if (const StoredTensor* tensor = find_by_name(tensors, name)) return tensor;
  if (const OtherTensor* other = find_by_name(others, name)) {
    throw_error(ErrorCode::kUnsupported,
                "{}: tensor '{}' is {}, reelm reads F32, F16 and BF16 (of GGUF files Q8_0, Q4_0, "
                "Q4_1, Q5_0, Q5_1, Q4_K, Q5_K and Q6_K too)",
                file, name, other->dtype);
  }
  return nullptr;
}

const StoredTensor& check_tensor(const StoredTensor* tensor, std::string_view name,
                                 std::span<const std::int64_t> shape, const std::string& file) {
  if (tensor == nullptr) {
    throw_error(ErrorCode::kNotFound, "{}: no tensor '{}', expected one of shape {}", file, name,
                shape_string(shape));
  }
  const DType dtype = tensor->dtype;
  if (!is_weight_dtype(dtype)) {
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' is {}, expected F32, F16 or BF16", file, name,
                dtype_name(dtype));
  }
  if (!std::equal(shape.begin(), shape.end(), tensor->shape.begin(), tensor->shape.end())) {
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' has the shape {}, expected {}", file, name,
                shape_string(tensor->shape), shape_string(shape));
  }
  return *tensor;
}

}  // namespace reelm
