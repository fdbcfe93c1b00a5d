#include "kernels/dequantize.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "core/gguf.h"
#include "core/safetensors.h"
#include "kernels/matmul.h"

namespace reelm::kernels {
namespace {

/// Blocks of random bits of every type, and what gguf.quants makes of them.
struct Golden {
  GgufFile stored = GgufFile::open(std::filesystem::path(REELM_TEST_GOLDENS) / "gguf/types.gguf");
  SafetensorsFile expected =
      SafetensorsFile::open(std::filesystem::path(REELM_TEST_GOLDENS) / "gguf/types.safetensors");

  std::vector<float> floats(const std::string& name) const {
    const auto bytes = expected.find(name)->bytes;
    std::vector<float> out(bytes.size() / sizeof(float));
    std::memcpy(out.data(), bytes.data(), bytes.size());
    return out;
  }
};

TEST(Dequantize, EveryTypeAsTheReference) {
  const Golden golden;
  int types = 0;
  for (const StoredTensor& tensor : golden.stored.tensors()) {
    if (!is_quantized(tensor.dtype)) continue;
    ++types;
    const std::vector<float> expected = golden.floats(tensor.name);
    std::vector<float> found(expected.size());
    ASSERT_EQ(std::ssize(expected), element_count(tensor.shape));
    std::vector<std::byte> moved(tensor.bytes.size() + 1);  // to an odd address
    std::memcpy(moved.data() + 1, tensor.bytes.data(), tensor.bytes.size());
    dequantize(tensor.dtype, moved.data() + 1, found.data(), std::ssize(found));
    // Bit for bit: compared as bytes, so that the sign of zero counts too.
    EXPECT_EQ(std::memcmp(found.data(), expected.data(), found.size() * sizeof(float)), 0)
        << tensor.name << "\nto make goldens again: python tools/make_gguf_goldens.py";
  }
  EXPECT_EQ(types, 8);
}

TEST(Dequantize, PackedIsAsIfStoredInFloats) {
  const Golden golden;
  for (const StoredTensor& tensor : golden.stored.tensors()) {
    if (!is_quantized(tensor.dtype)) continue;
    const std::vector<float> floats = golden.floats(tensor.name);
    const std::int64_t rows = tensor.shape[0], cols = tensor.shape[1];
    const StoredMatrix as_stored = {tensor.bytes.data(), tensor.dtype, rows, cols};
    const StoredMatrix as_floats = {floats.data(), DType::kF32, rows, cols};
    for (const ComputeType type :
         {ComputeType::kF32, ComputeType::kBF16, ComputeType::kInt8, ComputeType::kInt4}) {
      // Stacked and, with more rows than half a panel has, side by side: rows that begin anywhere.
      std::vector<StoredMatrix> stored, plain;
      for (int i = 0; i < 25; ++i) {
        stored.push_back(as_stored);
        plain.push_back(as_floats);
      }
      const PackedMatrix a(stored, type), b(plain, type);
      ASSERT_EQ(a.size_bytes(), b.size_bytes());
      EXPECT_EQ(std::memcmp(a.packed_bytes().data(), b.packed_bytes().data(), a.size_bytes()), 0)
          << tensor.name << " " << compute_type_name(type);
    }
  }
}

TEST(Dequantize, GatedPartsBeginAtWholeRows) {
  const std::int64_t rows = 2 * kGatedRows + 5, cols = 64;
  const std::vector<std::byte> gate(
      static_cast<std::size_t>(dtype_bytes(DType::kQ8_0, rows * cols)));
  const std::vector<std::byte> up(gate.size());
  const auto parts =
      gated_parts({gate.data(), DType::kQ8_0, rows, cols}, {up.data(), DType::kQ8_0, rows, cols});
  ASSERT_EQ(parts.size(), 6u);
  EXPECT_EQ(parts[2].data, gate.data() + 32 * 2 * 34);
  EXPECT_EQ(parts[5].data, up.data() + 64 * 2 * 34);
  EXPECT_EQ(parts[5].rows, 5);
}

}  // namespace
}  // namespace reelm::kernels
