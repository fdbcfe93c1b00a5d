// Matrices as GGUF files store them, for products with weights that keep their blocks.
#pragma once

#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/dequantize.h"
#include "kernels/matmul.h"

namespace reelm::kernels {

/// Rows of Q8_0 or Q4_0 blocks whose integers are any, with f16 scales in [1/128, 1/64) or (Q4_0)
/// 16 times that, of either sign: values reach 2. The same for the same seed.
class StoredBlocks {
 public:
  StoredBlocks(ComputeType type, std::int64_t rows, std::int64_t cols, unsigned seed)
      : dtype_(stored_type(type)), rows_(rows), cols_(cols) {
    std::mt19937 engine(seed);
    bytes_.resize(static_cast<std::size_t>(dtype_bytes(dtype_, rows * cols)));
    for (unsigned char& byte : bytes_) byte = static_cast<unsigned char>(engine() >> 16);
    const std::uint16_t exponent = type == ComputeType::kQ8_0 ? 0x2000 : 0x3000;
    for (std::int64_t i = 0; i < blocks(); ++i) {
      set_scale(i, static_cast<std::uint16_t>(exponent | (engine() & 0x83ff)));
    }
  }

  std::int64_t blocks() const { return rows_ * cols_ / 32; }
  /// The largest scale whose weights stay within 2.
  float most_scale() const { return dtype_ == DType::kQ8_0 ? 1.0f / 64.0f : 16.0f / 64.0f; }
  void set_scale(std::int64_t block, std::uint16_t bits) {
    std::memcpy(bytes_.data() + dtype_bytes(dtype_, block * 32), &bits, 2);
  }
  /// Of all blocks.
  void set_integers(unsigned char byte) {
    for (std::int64_t i = 0; i < blocks(); ++i) {
      std::memset(bytes_.data() + dtype_bytes(dtype_, i * 32) + 2, byte,
                  static_cast<std::size_t>(dtype_bytes(dtype_, 32) - 2));
    }
  }
  StoredMatrix matrix() const { return {bytes_.data(), dtype_, rows_, cols_}; }
  std::vector<float> floats() const {
    std::vector<float> out(static_cast<std::size_t>(rows_ * cols_));
    dequantize(dtype_, bytes_.data(), out.data(), std::ssize(out));
    return out;
  }

 private:
  DType dtype_;
  std::int64_t rows_, cols_;
  std::vector<unsigned char> bytes_;
};

}  // namespace reelm::kernels
