// Tensors as files of weights hold them.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "dtype.h"

namespace reelm {

/// One tensor of a file: dense, row-major, little-endian. `bytes` lies in the mapping of the
/// file or Checkpoint it came from and lives as long as that. It starts wherever the file puts it,
/// perhaps at an odd address: read it with memcpy or unaligned loads, never through a cast pointer.
/// Quantised rows (the last size) are whole blocks.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;   ///< sizes, outermost first; empty for a scalar
  std::span<const std::byte> bytes;  ///< exactly dtype_bytes(dtype, product(shape)) of them
};

/// A tensor of a dtype the format knows and reelm does not compute with (F64, BOOL, F8_E4M3, ...).
/// Listed so that programs can show it; asking for it by name is an error.
struct OtherTensor {
  std::string name;
  std::string dtype;  ///< as the file spells it
  std::vector<std::int64_t> shape;
  std::int64_t n_bytes = 0;
};

/// "[2, 3]": a shape for messages.
std::string shape_string(std::span<const std::int64_t> shape);

/// The product of the sizes. Throws Error{kLimit} when it overflows.
std::int64_t element_count(std::span<const std::int64_t> shape);

/// Whether it is one that weights may have: F32, F16, BF16 or quantised.
constexpr bool is_weight_dtype(DType dtype) noexcept {
  return is_quantized(dtype) || dtype == DType::kF32 || dtype == DType::kF16 ||
         dtype == DType::kBF16;
}

/// For look-ups in vectors of StoredTensor or OtherTensor.
template <typename T>
void sort_by_name(std::vector<T>& tensors) {
  std::sort(tensors.begin(), tensors.end(), [](const T& a, const T& b) { return a.name < b.name; });
}

/// The tensor of that name or nullptr, both lists sorted by name. Throws Error{kUnsupported} naming
/// `file` when it is one of `others`.
const StoredTensor* find_tensor(const std::vector<StoredTensor>& tensors,
                                const std::vector<OtherTensor>& others, std::string_view name,
                                const std::string& file);

/// What find_tensor found, when it is a weight of that shape. Throws Error naming file, tensor,
/// what was found and what was expected: kNotFound, kFormat (shape, integers).
const StoredTensor& check_tensor(const StoredTensor* found, std::string_view name,
                                 std::span<const std::int64_t> shape, const std::string& file);

}  // namespace reelm
