// Rounding to int8 and int4: weights once, when they are packed; activations on their way into a
// product. The blocks are described in table.h.
#pragma once

#include "../simd/gemm.h"

namespace reelm::kernels {

/// to[0 .. 127] = x[0 .. n - 1], then zeros.
template <class V>
inline void pad_group(const float* x, int64_t n, float* to) {
  int64_t i = 0;
  for_each_vector<V>(n, [&](int64_t j, int64_t count) {
    store_upto<V>(to + j, load_upto<V>(x + j, count), count);
  });
  for (i = n; i < kQuantGroup; ++i) to[i] = 0.0f;
}

/// The largest magnitude of kCount values; NaN when one of them is NaN or infinite, so that
/// rounding to integers never hides what went wrong before.
template <class V, int64_t kCount = kQuantGroup>
inline float group_top(const float* x) {
  auto top = V::zero(), bad = V::zero();
  for (int64_t i = 0; i < kCount; i += V::kWidth) {
    const auto v = V::load(x + i);
    top = V::max(V::abs(v), top);
    bad = V::fma(v, V::zero(), bad);
  }
  return V::reduce_max(top) + V::reduce_add(bad);
}

// ---- activations -------------------------------------------------------------------------------

/// 32 values in units of their scale to the nearest, ties to even; their sum. `inverse` is 1 /
/// scale.
template <class V>
inline int32_t round_32(const float* x, typename V::F inverse, int8_t* q) {
  auto sum = V::zero();
  for (int64_t i = 0; i < kQuantSub; i += V::kWidth) {
    const auto v = V::round(V::mul(V::load(x + i), inverse));
    V::store_i8(q + i, v);
    sum = V::add(sum, v);
  }
  // Whole numbers below 2^24: exact in any order. NaN only where the scale is NaN too.
  const float total = V::reduce_add(sum);
  return total == total ? static_cast<int32_t>(total) : 0;
}

/// 127 / top; 0 below kSmallestQuantized, where that would be infinite.
inline float inverse_scale(float top) { return top >= kSmallestQuantized ? 127.0f / top : 0.0f; }

/// 128 bytes as they are, or as words in the order of kPackedInt16. Returns the end.
inline char* store_group(const int8_t* q, int kind, char* to) {
  if (!is_words(kind)) {
    __builtin_memcpy(to, q, kQuantGroup);
    return to + kQuantGroup;
  }
  int16_t pairs[kQuantGroup / 2];
  int16_t halves[kQuantGroup];
  __builtin_memcpy(pairs, q, sizeof(pairs));
  for (int64_t i = 0; i < kQuantGroup / 2; ++i) {
    halves[i] = static_cast<int16_t>(static_cast<int16_t>(pairs[i] * 256) >> 8);
    halves[kQuantGroup / 2 + i] = static_cast<int16_t>(pairs[i] >> 8);
  }
  __builtin_memcpy(to, halves, sizeof(halves));
  return to + sizeof(halves);
}

/// One row of one group: scale = top / 127, values to the nearest, ties to even. A row below
/// kSmallestQuantized is zeros, as 127 / top would be infinite.
template <class V>
inline void quantise_row(const float* x, int kind, char* to) {
  const float top = group_top<V>(x);
  const auto inverse = V::set1(inverse_scale(top));
  alignas(64) int8_t q[kQuantGroup];
  QuantTail tail = {};
  tail.scale = top / 127.0f;
  int32_t all = 0;
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    tail.sums[s] = round_32<V>(x + s * kQuantSub, inverse, q + s * kQuantSub);
    all += tail.sums[s];
  }
  tail.offset = -128 * all;
  __builtin_memcpy(store_group(q, kind, to), &tail, sizeof(tail));
}

/// The same with a scale for each 32 values.
template <class V>
inline void quantise_row_by_32(const float* x, int kind, char* to) {
  alignas(64) int8_t q[kQuantGroup];
  QuantTailBy32 tail;
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    const float* from = x + s * kQuantSub;
    const float top = group_top<V, kQuantSub>(from);
    tail.scale[s] = top / 127.0f;
    const int32_t sum = round_32<V>(from, V::set1(inverse_scale(top)), q + s * kQuantSub);
    tail.offset[s] = -128 * sum;
  }
  __builtin_memcpy(store_group(q, kind, to), &tail, sizeof(tail));
}

template <class V>
void pack_a_any(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad, int kind,
                void* a, int64_t begin, int64_t end) {
  const bool by_32 = kind == kPackedInt8By32 || kind == kPackedInt16By32;
  if (kind != kPackedInt8 && kind != kPackedInt16 && !by_32) {
    pack_a_rows<V>(x, x_stride, m, k, k_pad, kind, a, begin, end);
    return;
  }
  const int64_t row_bytes = quant_row_bytes(kind);
  alignas(64) float padded[kQuantGroup];
  for (int64_t row = begin; row < end; ++row) {
    for (int64_t k0 = 0; k0 < k_pad; k0 += kQuantGroup) {
      const float* from = x + row * x_stride + k0;
      if (k - k0 < kQuantGroup) {
        pad_group<V>(from, k - k0 > 0 ? k - k0 : 0, padded);
        from = padded;
      }
      char* to = static_cast<char*>(a) + (k0 / kQuantGroup * m + row) * row_bytes;
      by_32 ? quantise_row_by_32<V>(from, kind, to) : quantise_row<V>(from, kind, to);
    }
  }
}

// ---- weights -----------------------------------------------------------------------------------
// Packed bytes are the same on every set: no fused multiply-add, which only some have, and sums in
// an order that no width decides.

/// The nearest bf16 of a positive number, as its bits.
inline uint16_t bf16_of(float x) {
  uint32_t u;
  __builtin_memcpy(&u, &x, 4);
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
inline float float_of_bf16(uint16_t bits) {
  const uint32_t u = static_cast<uint32_t>(bits) << 16;
  float x;
  __builtin_memcpy(&x, &u, 4);
  return x;
}

/// The scale of a group of weights, as bf16; and the 128 values in units of it, 128 added, within
/// 1..255 (not rounded). A group of zeros, or of values whose scale would be 0, has scale 0.
template <class V>
inline uint16_t scale_group(const float* w, float* units) {
  const uint16_t scale = bf16_of(group_top<V>(w) / 127.0f);
  const float value = float_of_bf16(scale);
  // Below the normal numbers 1 / scale may be infinite.
  const bool usable = value >= 1.17549435e-38f;
  const auto inverse = V::set1(usable ? 1.0f / value : 0.0f);
  for (int64_t i = 0; i < kQuantGroup; i += V::kWidth) {
    auto v = V::add(V::mul(V::load(w + i), inverse), V::set1(128.0f));
    v = V::min(V::max(v, V::set1(1.0f)), V::set1(255.0f));
    V::store(units + i, v);
  }
  return usable || value != value ? scale : static_cast<uint16_t>(0);
}

/// 128 weights of one column into an int8 block.
template <class V>
inline void quantise_int8(const float* w, int64_t col, Int8Block* block) {
  alignas(64) float units[kQuantGroup];
  block->scale[col] = scale_group<V>(w, units);
  alignas(64) int8_t q[kQuantGroup];
  for (int64_t i = 0; i < kQuantGroup; i += V::kWidth) {
    V::store_i8(q + i, V::sub(V::round(V::load(units + i)), V::set1(128.0f)));
  }
  for (int64_t i = 0; i < kQuantGroup / 4; ++i) {
    uint32_t four;
    __builtin_memcpy(&four, q + 4 * i, 4);
    four ^= 0x80808080u;  // + 128 in every byte
    __builtin_memcpy(block->q[i][col], &four, 4);
  }
}

/// Squared error of 32 values t when they become step * q + base.
template <class V>
inline float int4_error(const float* t, float step, float base) {
  const auto inverse = V::set1(1.0f / step);
  alignas(64) float squares[kQuantSub];
  for (int64_t i = 0; i < kQuantSub; i += V::kWidth) {
    const auto v = V::sub(V::load(t + i), V::set1(base));
    auto q = V::round(V::mul(v, inverse));
    q = V::min(V::max(q, V::zero()), V::set1(15.0f));
    const auto error = V::sub(v, V::mul(q, V::set1(step)));
    V::store(squares + i, V::mul(error, error));
  }
  for (int64_t half = kQuantSub / 2; half > 0; half /= 2) {
    for (int64_t i = 0; i < half; ++i) squares[i] += squares[i + half];
  }
  return squares[0];
}

/// Whole numbers step and base that lose least over 32 values within 1..255. Tried: the steps that
/// just cover the range and up to three smaller ones (which clip the ends), each centred and one
/// beside it.
template <class V>
inline void choose_int4(const float* t, float* step_out, float* base_out) {
  auto low_v = V::load(t), high_v = V::load(t);
  for (int64_t i = V::kWidth; i < kQuantSub; i += V::kWidth) {
    high_v = V::max(V::load(t + i), high_v);
    low_v = V::min(V::load(t + i), low_v);
  }
  const float high = V::reduce_max(high_v);
  const float low = -V::reduce_max(V::sub(V::zero(), low_v));
  const float cover = static_cast<float>(static_cast<int>((high - low) / 15.0f) + 1);
  float best = __builtin_inff();
  for (float step = cover; step >= 1.0f && step > cover - 4.0f; step -= 1.0f) {
    const int middle = static_cast<int>((low + high) * 0.5f - 7.5f * step + 0.5f);
    for (int b = middle - 1; b <= middle + 1; ++b) {
      float base = static_cast<float>(b);
      if (base > 255.0f - 15.0f * step) base = 255.0f - 15.0f * step;
      if (base < 0.0f) base = 0.0f;
      const float error = int4_error<V>(t, step, base);
      if (error < best) {
        best = error;
        *step_out = step;
        *base_out = base;
      }
    }
  }
}

/// 128 weights of one column into an int4 block.
template <class V>
inline void quantise_int4(const float* w, int64_t col, Int4Block* block) {
  alignas(64) float units[kQuantGroup];
  block->scale[col] = scale_group<V>(w, units);
  for (int64_t s = 0; s < kQuantGroup / kQuantSub; ++s) {
    const float* t = units + s * kQuantSub;
    float step = 1.0f, base = 120.0f;
    choose_int4<V>(t, &step, &base);
    block->step[s][col] = static_cast<uint8_t>(step);
    block->base[s][col] = static_cast<uint8_t>(base);
    alignas(64) int8_t q[kQuantSub];
    for (int64_t i = 0; i < kQuantSub; i += V::kWidth) {
      auto v = V::round(V::mul(V::sub(V::load(t + i), V::set1(base)), V::set1(1.0f / step)));
      v = V::min(V::max(v, V::zero()), V::set1(15.0f));
      V::store_i8(q + i, v);
    }
    for (int64_t p = 0; p < kQuantSub / 8; ++p) {
      uint32_t low4, high4;
      __builtin_memcpy(&low4, q + 4 * p, 4);
      __builtin_memcpy(&high4, q + kQuantSub / 2 + 4 * p, 4);
      const uint32_t both = low4 | (high4 << 4);
      __builtin_memcpy(block->q[s][p][col], &both, 4);
    }
  }
}

template <class V>
void pack_b_any(const void* rows, int64_t row_bytes, int stored, int64_t n_rows, int64_t k,
                int64_t k_pad, int packed, int64_t col, void* panel) {
  if (packed != kElementInt8 && packed != kElementInt4) {
    pack_b_rows<V>(rows, row_bytes, stored, n_rows, k, k_pad, packed, col, panel);
    return;
  }
  const int64_t size = stored == kElementF32 ? 4 : 2;
  alignas(64) float wide[kQuantGroup];
  for (int64_t r = 0; r < n_rows; ++r) {
    const char* row = static_cast<const char*>(rows) + r * row_bytes;
    for (int64_t k0 = 0; k0 < k_pad; k0 += kQuantGroup) {
      const int64_t n = k - k0 < 0 ? 0 : (k - k0 < kQuantGroup ? k - k0 : kQuantGroup);
      if (n > 0) restore_row<V>(row + k0 * size, stored, n, kElementF32, wide);
      for (int64_t i = n; i < kQuantGroup; ++i) wide[i] = 0.0f;
      if (packed == kElementInt8) {
        quantise_int8<V>(wide, col + r, static_cast<Int8Block*>(panel) + k0 / kQuantGroup);
      } else {
        quantise_int4<V>(wide, col + r, static_cast<Int4Block*>(panel) + k0 / kQuantGroup);
      }
    }
  }
}

}  // namespace reelm::kernels
