// Element types of tensors, and the 16-bit floats as storage types.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace reelm {

/// Element type of a stored tensor; names as in safetensors headers. From kQ8_0 on: quantised types
/// of ggml, whose elements are stored a block at a time, with scales of their own
/// (kernels/dequantize.h). They come from GGUF files only.
enum class DType {
  kF32,
  kF16,
  kBF16,
  kI64,
  kI32,
  kU8,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K,
};

/// How elements of a type are stored.
struct DTypeLayout {
  const char* name;          ///< "F32", "Q4_K": the spelling of safetensors or ggml
  std::int64_t block;        ///< elements stored together: 1 but for quantised types
  std::int64_t block_bytes;  ///< bytes they take
};

constexpr DTypeLayout dtype_layout(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return {"F32", 1, 4};
    case DType::kF16:
      return {"F16", 1, 2};
    case DType::kBF16:
      return {"BF16", 1, 2};
    case DType::kI64:
      return {"I64", 1, 8};
    case DType::kI32:
      return {"I32", 1, 4};
    case DType::kU8:
      return {"U8", 1, 1};
    case DType::kQ8_0:
      return {"Q8_0", 32, 34};
    case DType::kQ4_0:
      return {"Q4_0", 32, 18};
    case DType::kQ4_1:
      return {"Q4_1", 32, 20};
    case DType::kQ5_0:
      return {"Q5_0", 32, 22};
    case DType::kQ5_1:
      return {"Q5_1", 32, 24};
    case DType::kQ4_K:
      return {"Q4_K", 256, 144};
    case DType::kQ5_K:
      return {"Q5_K", 256, 176};
    case DType::kQ6_K:
      return {"Q6_K", 256, 210};
  }
  return {"?", 1, 0};
}

constexpr const char* dtype_name(DType dtype) noexcept { return dtype_layout(dtype).name; }

constexpr bool is_quantized(DType dtype) noexcept { return dtype_layout(dtype).block > 1; }

/// Bytes per element; 0 for quantised types.
constexpr std::size_t dtype_size(DType dtype) noexcept {
  return is_quantized(dtype) ? 0 : static_cast<std::size_t>(dtype_layout(dtype).block_bytes);
}

/// Bytes of `n` elements, a multiple of the type's block.
constexpr std::int64_t dtype_bytes(DType dtype, std::int64_t n) noexcept {
  return n / dtype_layout(dtype).block * dtype_layout(dtype).block_bytes;
}

/// bfloat16 storage: the upper half of an IEEE binary32.
struct bf16_t {
  std::uint16_t bits = 0;
};
static_assert(sizeof(bf16_t) == 2);

/// IEEE binary16 storage.
struct f16_t {
  std::uint16_t bits = 0;
};
static_assert(sizeof(f16_t) == 2);

constexpr float to_float(bf16_t v) noexcept {
  return std::bit_cast<float>(static_cast<std::uint32_t>(v.bits) << 16);
}

/// Rounds to nearest even, as torch does; NaN stays NaN.
constexpr bf16_t to_bf16(float v) noexcept {
  const std::uint32_t u = std::bit_cast<std::uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<std::uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<std::uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// Exact: every binary16 value is a binary32 value.
constexpr float to_float(f16_t v) noexcept {
  const std::uint32_t sign = static_cast<std::uint32_t>(v.bits & 0x8000u) << 16;
  const std::uint32_t exponent = (v.bits >> 10) & 0x1fu;
  const std::uint32_t mantissa = v.bits & 0x3ffu;
  if (exponent == 31) return std::bit_cast<float>(sign | 0x7f800000u | (mantissa << 13));
  if (exponent != 0)
    return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  // Subnormal: mantissa * 2^-24.
  const float magnitude = static_cast<float>(mantissa) * 5.9604644775390625e-8f;
  return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
}

}  // namespace reelm
