// Element types of tensors, and the 16-bit floats as storage types.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace reelm {

/// Element type of a stored tensor; names as in safetensors headers.
enum class DType { kF32, kF16, kBF16, kI64, kI32, kU8 };

/// Bytes per element.
constexpr std::size_t dtype_size(DType dtype) noexcept {
  switch (dtype) {
    case DType::kI64:
      return 8;
    case DType::kF32:
    case DType::kI32:
      return 4;
    case DType::kF16:
    case DType::kBF16:
      return 2;
    case DType::kU8:
      return 1;
  }
  return 0;
}

/// "F32", "BF16", ...: the safetensors spelling.
constexpr const char* dtype_name(DType dtype) noexcept {
  switch (dtype) {
    case DType::kF32:
      return "F32";
    case DType::kF16:
      return "F16";
    case DType::kBF16:
      return "BF16";
    case DType::kI64:
      return "I64";
    case DType::kI32:
      return "I32";
    case DType::kU8:
      return "U8";
  }
  return "?";
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
