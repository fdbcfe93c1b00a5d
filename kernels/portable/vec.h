// Registers of four floats in GCC's vector extensions: SSE2 on x86-64, NEON on AArch64. What each
// member does is said in avx2/vec.h.
#pragma once

#include <stdint.h>

namespace reelm::kernels::portable {

struct Vec {
  typedef float F __attribute__((vector_size(16)));
  typedef uint32_t I __attribute__((vector_size(16)));
  typedef int32_t S __attribute__((vector_size(16)));
  typedef int16_t H __attribute__((vector_size(16)));
  typedef uint16_t U __attribute__((vector_size(16)));  // wraps without being undefined
  static constexpr int kIsa = 0;
  static constexpr int kWidth = 4;
  static constexpr bool kHasDot = false;
  static constexpr bool kHasWords = false;
  // SSE2 has 16 registers: 12 sums, 2 weights, 1 activation.
  static constexpr int kRowTile = 6;
  static constexpr int kStrip = 2;
  static constexpr int kTallTile = 4;
  static constexpr int kTallStrip = 3;
  static constexpr int64_t kAttentionColumns = 48;
  static constexpr int strip_for_rows(int rows) { return rows == 1 ? 8 : rows <= 3 ? 4 : kStrip; }
  static constexpr int quant_strip_for_rows(int rows) { return strip_for_rows(rows); }

  static F zero() { return F{}; }
  static F set1(float x) { return F{x, x, x, x}; }
  static F load(const float* p) { return load_any<F>(p); }
  static void store(float* p, F v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static F load_n(const float* p, int64_t n) {
    F v = zero();
    __builtin_memcpy(&v, p, static_cast<unsigned long>(n) * sizeof(float));
    return v;
  }
  static void store_n(float* p, F v, int64_t n) {
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
  }
  static F first_n(F v, int64_t n) {
    for (int64_t i = n; i < kWidth; ++i) v[i] = 0.0f;
    return v;
  }

  static F add(F a, F b) { return a + b; }
  static F sub(F a, F b) { return a - b; }
  static F mul(F a, F b) { return a * b; }
  static F div(F a, F b) { return a / b; }
#if defined(__aarch64__)
  static F fma(F a, F b, F c) {
    for (int i = 0; i < kWidth; ++i) c[i] = __builtin_fmaf(a[i], b[i], c[i]);
    return c;
  }
#else
  // SSE2 has no fused form, and the library's would take 50 times as long: two roundings here.
  static F fma(F a, F b, F c) { return a * b + c; }
#endif
  static F max(F a, F b) { return select(a > b, a, b); }
  static F min(F a, F b) { return select(a < b, a, b); }
  static F abs(F a) { return reinterpret_cast<F>(reinterpret_cast<I>(a) & 0x7fffffffu); }
  static F copysign(F a, F b) {
    return reinterpret_cast<F>(reinterpret_cast<I>(a) | (reinterpret_cast<I>(b) & 0x80000000u));
  }
  // Adding 1.5 * 2^23 leaves no room for a fraction; right for |a| < 2^22.
  static F round(F a) { return (a + 12582912.0f) - 12582912.0f; }
  static F pow2(F n) { return reinterpret_cast<F>((__builtin_convertvector(n, S) + 127) << 23); }
  static F zero_where_less(F v, F a, F b) { return select(a < b, zero(), v); }
  static F select_less(F a, F b, F yes, F no) { return select(a < b, yes, no); }
  static float reduce_add(F v) { return (v[0] + v[2]) + (v[1] + v[3]); }
  static float reduce_max(F v) {
    const float a = v[0] > v[2] ? v[0] : v[2], b = v[1] > v[3] ? v[1] : v[3];
    return a > b ? a : b;
  }

  static F load_bf16(const uint16_t* p) { return reinterpret_cast<F>(load_half(p) << 16); }
  static void store_bf16(uint16_t* p, F v) {
    const I high = bf16_bits(v) >> 16;
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<uint16_t>(high[i]);
  }
  static F round_bf16_number(F v) { return reinterpret_cast<F>(rounded_bits(v) & 0xffff0000u); }
  static F round_bf16(F v) { return reinterpret_cast<F>(bf16_bits(v) & 0xffff0000u); }
  // Exponent and mantissa moved in place, then scaled by 2^112: exact for subnormals too. Infinity
  // and NaN have an exponent of 31 and keep all ones.
  static F load_f16(const uint16_t* p) {
    const I h = load_half(p);
    const I sign = (h & 0x8000u) << 16;
    const I magnitude = (h & 0x7fffu) << 13;
    const F scaled = reinterpret_cast<F>(magnitude) * 5.192296858534828e33f;
    const I special = reinterpret_cast<I>((h & 0x7c00u) == 0x7c00u);
    const I bits = (reinterpret_cast<I>(scaled) & ~special) | ((magnitude | 0x7f800000u) & special);
    return reinterpret_cast<F>(bits | sign);
  }

  static F load_i8(const int8_t* p) {
    return F{static_cast<float>(p[0]), static_cast<float>(p[1]), static_cast<float>(p[2]),
             static_cast<float>(p[3])};
  }
  static void store_sums4(float* to, F a, F b, F c, F d) {
    to[0] = reduce_add(a);
    to[1] = reduce_add(b);
    to[2] = reduce_add(c);
    to[3] = reduce_add(d);
  }

  static I load_pairs(const uint32_t* p) { return load_any<I>(p); }
  static F pair_first(I v) { return reinterpret_cast<F>(v << 16); }
  static F pair_second(I v) { return reinterpret_cast<F>(v & 0xffff0000u); }
  static I set1_pair(uint32_t v) { return I{v, v, v, v}; }
  static F dot_pairs(F sum, I, I) { return sum; }

  static constexpr bool kHasDot8 = false;
  static I load_i(const void* p) { return load_any<I>(p); }
  static void store_i(void* p, I v) { __builtin_memcpy(p, &v, sizeof(v)); }
  static I set1_i(int32_t x) { return set1_pair(static_cast<uint32_t>(x)); }
  static I add_i(I a, I b) { return a + b; }
  static S zero_s() { return S{}; }
  static I integers(S v) { return reinterpret_cast<I>(v); }
  static S add16_s(S a, I b) { return reinterpret_cast<S>(add16(reinterpret_cast<I>(a), b)); }
  static S add_s(S a, I b) { return a + reinterpret_cast<S>(b); }
  static F to_float(S v) { return __builtin_convertvector(v, F); }
  static I load_u8(const uint8_t* p) { return I{p[0], p[1], p[2], p[3]}; }
  static void store_i8(int8_t* p, F v) {
    // Out of range (NaN) becomes 0: the conversion would be undefined.
    const F safe = select(abs(v) < 128.0f, v, zero());
    for (int i = 0; i < kWidth; ++i) p[i] = static_cast<int8_t>(safe[i]);
  }
  static I even_bytes(I v) { return v & 0x00ff00ffu; }
  static I odd_bytes(I v) { return (v >> 8) & 0x00ff00ffu; }
  static I low_halves(I v) { return v & 0x0f0f0f0fu; }
  static I high_halves(I v) { return (v >> 4) & 0x0f0f0f0fu; }
  static I both_halves(I v) { return v | (v << 16); }
  static I all_bytes(I v) { return v * 0x01010101u; }
  static I add16(I a, I b) {
    return reinterpret_cast<I>(reinterpret_cast<U>(a) + reinterpret_cast<U>(b));
  }
  static I mul16(I a, I b) {
    return reinterpret_cast<I>(reinterpret_cast<U>(a) * reinterpret_cast<U>(b));
  }
  // Low and high halves, with their signs, as 32-bit numbers. The products stay far from 2^31.
  static I madd16(I a, I b) {
    return reinterpret_cast<I>(low16(a) * low16(b) + high16(a) * high16(b));
  }
  static I madd8(I u, I s) {
    const H even = reinterpret_cast<H>(even_bytes(u)) * ((reinterpret_cast<H>(s) << 8) >> 8);
    const H odd = reinterpret_cast<H>(odd_bytes(u)) * (reinterpret_cast<H>(s) >> 8);
    return reinterpret_cast<I>(even + odd);
  }
  static S dot8(S sum, I, I) { return sum; }
  static I mul_s(S a, I b) { return reinterpret_cast<I>(a) * b; }

  // always_inline: GCC 12 takes a call of it for one without effects, and dropped those in
  // functions that are always inlined themselves (add_products of simd/gemm_quant.h).
  [[gnu::always_inline]] static void prefetch(const void* p) { __builtin_prefetch(p); }
  [[gnu::always_inline]] static void prefetch_far(const void* p) { __builtin_prefetch(p, 0, 2); }
  static void transpose8(const void* const rows[8], void* to, int64_t to_stride) {
    for (int j = 0; j < 8; ++j) {
      for (int i = 0; i < 8; ++i) {
        __builtin_memcpy(static_cast<char*>(to) + (j * to_stride + i) * 4,
                         static_cast<const char*>(rows[i]) + j * 4, 4);
      }
    }
  }

 private:
  static S low16(I v) { return reinterpret_cast<S>(v << 16) >> 16; }
  static S high16(I v) { return reinterpret_cast<S>(v) >> 16; }
  template <class T>
  static T load_any(const void* p) {
    T v;
    __builtin_memcpy(&v, p, sizeof(v));
    return v;
  }
  static I load_half(const uint16_t* p) {
    uint16_t h[kWidth];
    __builtin_memcpy(h, p, sizeof(h));  // stored weights may lie at odd addresses
    return I{h[0], h[1], h[2], h[3]};
  }
  static F select(S mask, F yes, F no) {
    const I m = reinterpret_cast<I>(mask);
    return reinterpret_cast<F>((reinterpret_cast<I>(yes) & m) | (reinterpret_cast<I>(no) & ~m));
  }
  static I bf16_bits(F v) {
    const I nan = reinterpret_cast<I>(v != v);
    return (rounded_bits(v) & ~nan) | ((reinterpret_cast<I>(v) | 0x400000u) & nan);
  }
  static I rounded_bits(F v) {
    const I u = reinterpret_cast<I>(v);
    return u + (((u >> 16) & 1u) + 0x7fffu);
  }
};

}  // namespace reelm::kernels::portable
