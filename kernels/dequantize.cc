#include "kernels/dequantize.h"

#include <cstring>

#include "core/error.h"

namespace reelm::kernels {

namespace {

// The blocks of ggml-common.h. All members are bytes: they lie at any address, without padding.
using Byte = std::uint8_t;

float half(const Byte (&bytes)[2]) noexcept {
  f16_t value;
  std::memcpy(&value, bytes, sizeof value);
  return to_float(value);
}

/// 32 weights d * q.
struct BlockQ8_0 {
  Byte d[2];
  std::int8_t q[32];

  void decode(float* out) const noexcept {
    const float scale = half(d);
    for (int i = 0; i < 32; ++i) out[i] = static_cast<float>(q[i]) * scale;
  }
};

/// 32 weights d * (q - 8); the low halves of the bytes come first.
struct BlockQ4_0 {
  Byte d[2];
  Byte q[16];

  void decode(float* out) const noexcept {
    const float scale = half(d);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<float>((q[i] & 15) - 8) * scale;
      out[i + 16] = static_cast<float>((q[i] >> 4) - 8) * scale;
    }
  }
};

/// 32 weights d * q + m.
struct BlockQ4_1 {
  Byte d[2];
  Byte m[2];
  Byte q[16];

  void decode(float* out) const noexcept {
    const float scale = half(d), least = half(m);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<float>(q[i] & 15) * scale + least;
      out[i + 16] = static_cast<float>(q[i] >> 4) * scale + least;
    }
  }
};

/// The fifth bit of weight `i`, in its place.
int fifth_bit(const Byte* high, int i) noexcept { return (high[i / 8] >> i % 8 & 1) << 4; }

/// 32 weights d * (q - 16); the fifth bits stand together.
struct BlockQ5_0 {
  Byte d[2];
  Byte high[4];
  Byte q[16];

  void decode(float* out) const noexcept {
    const float scale = half(d);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<float>(((q[i] & 15) | fifth_bit(high, i)) - 16) * scale;
      out[i + 16] = static_cast<float>(((q[i] >> 4) | fifth_bit(high, i + 16)) - 16) * scale;
    }
  }
};

/// 32 weights d * q + m.
struct BlockQ5_1 {
  Byte d[2];
  Byte m[2];
  Byte high[4];
  Byte q[16];

  void decode(float* out) const noexcept {
    const float scale = half(d), least = half(m);
    for (int i = 0; i < 16; ++i) {
      out[i] = static_cast<float>((q[i] & 15) | fifth_bit(high, i)) * scale + least;
      out[i + 16] = static_cast<float>((q[i] >> 4) | fifth_bit(high, i + 16)) * scale + least;
    }
  }
};

/// Scales and minima of 8 groups, 6 bits each, in 12 bytes (ggml's get_scale_min_k4).
struct GroupScales {
  Byte bytes[12];

  int scale(int group) const noexcept {
    return group < 4 ? bytes[group] & 63 : (bytes[group + 4] & 15) | (bytes[group - 4] >> 6 << 4);
  }
  int least(int group) const noexcept {
    return group < 4 ? bytes[group + 4] & 63 : (bytes[group + 4] >> 4) | (bytes[group] >> 6 << 4);
  }
};

/// 256 weights in 8 groups of 32: d * scale * q - m * least, with q = value(group, i).
template <typename Value>
void decode_groups(float d, float m, const GroupScales& scales, float* out,
                   Value&& value) noexcept {
  for (int group = 0; group < 8; ++group) {
    const float a = d * static_cast<float>(scales.scale(group));
    const float b = m * static_cast<float>(scales.least(group));
    for (int i = 0; i < 32; ++i) *out++ = a * static_cast<float>(value(group, i)) - b;
  }
}

/// Four bits of weight i of a group: a pair of groups shares 32 bytes.
int four_bits(const Byte* q, int group, int i) noexcept {
  return q[group / 2 * 32 + i] >> group % 2 * 4 & 15;
}

/// Such a block with weights of four bits.
struct BlockQ4_K {
  Byte d[2];
  Byte m[2];
  GroupScales scales;
  Byte q[128];

  void decode(float* out) const noexcept {
    decode_groups(half(d), half(m), scales, out,
                  [&](int group, int i) { return four_bits(q, group, i); });
  }
};

/// The same with a fifth bit: bit g of high[i] is that of weight i in group g.
struct BlockQ5_K {
  Byte d[2];
  Byte m[2];
  GroupScales scales;
  Byte high[32];
  Byte q[128];

  void decode(float* out) const noexcept {
    decode_groups(half(d), half(m), scales, out, [&](int group, int i) {
      return four_bits(q, group, i) | (high[i] >> group & 1) << 4;
    });
  }
};

/// 256 weights in 16 groups of 16: d * scale * (q - 32). Of each 128 weights, the four quarters
/// share bytes: two bits of `high`, and four of `low`, where the first half is with the third.
struct BlockQ6_K {
  Byte low[128];
  Byte high[64];
  std::int8_t scales[16];
  Byte d[2];

  void decode(float* out) const noexcept {
    const float scale = half(d);
    for (int i = 0; i < 256; ++i) {
      const int part = i / 128, quarter = i / 32 % 4, within = i % 32;
      const int l = low[part * 64 + quarter % 2 * 32 + within] >> quarter / 2 * 4 & 15;
      const int h = high[part * 32 + within] >> quarter * 2 & 3;
      const float a = scale * static_cast<float>(scales[i / 16]);
      out[i] = a * static_cast<float>((l | (h << 4)) - 32);
    }
  }
};

template <typename Block>
void decode_all(DType dtype, const void* blocks, float* out, std::int64_t n) noexcept {
  static_assert(alignof(Block) == 1);
  const std::int64_t size = dtype_layout(dtype).block;
  REELM_CHECK(sizeof(Block) == static_cast<std::size_t>(dtype_layout(dtype).block_bytes));
  const auto* block = static_cast<const Block*>(blocks);
  for (std::int64_t i = 0; i < n; i += size) (block++)->decode(out + i);
}

}  // namespace

void dequantize(DType dtype, const void* blocks, float* out, std::int64_t n) noexcept {
  REELM_CHECK(n % dtype_layout(dtype).block == 0);
  switch (dtype) {
    case DType::kQ8_0:
      return decode_all<BlockQ8_0>(dtype, blocks, out, n);
    case DType::kQ4_0:
      return decode_all<BlockQ4_0>(dtype, blocks, out, n);
    case DType::kQ4_1:
      return decode_all<BlockQ4_1>(dtype, blocks, out, n);
    case DType::kQ5_0:
      return decode_all<BlockQ5_0>(dtype, blocks, out, n);
    case DType::kQ5_1:
      return decode_all<BlockQ5_1>(dtype, blocks, out, n);
    case DType::kQ4_K:
      return decode_all<BlockQ4_K>(dtype, blocks, out, n);
    case DType::kQ5_K:
      return decode_all<BlockQ5_K>(dtype, blocks, out, n);
    case DType::kQ6_K:
      return decode_all<BlockQ6_K>(dtype, blocks, out, n);
    default:
      break;
  }
  REELM_CHECK(!"a quantised type");
}

}  // namespace reelm::kernels
