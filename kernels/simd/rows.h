// Row-wise and element-wise kernels: norms, rotary, activations, conversions.
#pragma once

#include "../simd/math.h"
#include "../simd/table.h"

namespace reelm::kernels {

/// Calls fn(i, n) for [0, count) in steps of a register; n < V::kWidth in the last one only.
template <class V, class Fn>
inline void for_each_vector(int64_t count, Fn&& fn) {
  int64_t i = 0;
  for (; i + V::kWidth <= count; i += V::kWidth) fn(i, static_cast<int64_t>(V::kWidth));
  if (i < count) fn(i, count - i);
}

/// n == V::kWidth loads a register; fewer leave zeros in the rest.
template <class V>
inline typename V::F load_upto(const float* p, int64_t n) {
  return n == V::kWidth ? V::load(p) : V::load_n(p, n);
}
template <class V>
inline void store_upto(float* p, typename V::F v, int64_t n) {
  if (n == V::kWidth) {
    V::store(p, v);
  } else {
    V::store_n(p, v, n);
  }
}

/// x[i] += delta[i] when there is a delta, and hands each register of x to fn(x, n).
template <class V, class Fn>
inline void visit_row(float* x, const float* delta, int64_t d, Fn&& fn) {
  for_each_vector<V>(d, [&](int64_t i, int64_t n) {
    auto v = load_upto<V>(x + i, n);
    if (delta != nullptr) {
      v = V::add(v, load_upto<V>(delta + i, n));
      store_upto<V>(x + i, v, n);
    }
    fn(v, n);
  });
}

template <class V>
void rms_norm_rows(const NormArgs& a, int64_t begin, int64_t end) {
  for (int64_t row = begin; row < end; ++row) {
    float* x = a.x + row * a.x_stride;
    const float* delta = a.delta == nullptr ? nullptr : a.delta + row * a.delta_stride;
    float* y = a.y + row * a.y_stride;
    // Two sums: one chain of fused adds would wait 4 cycles for each register.
    auto sum0 = V::zero(), sum1 = V::zero();
    bool odd = false;
    visit_row<V>(x, delta, a.d, [&](typename V::F v, int64_t) {
      if (odd) {
        sum1 = V::fma(v, v, sum1);
      } else {
        sum0 = V::fma(v, v, sum0);
      }
      odd = !odd;
    });
    const float mean = V::reduce_add(V::add(sum0, sum1)) / static_cast<float>(a.d);
    const auto scale = V::set1(1.0f / __builtin_sqrtf(mean + a.eps));
    for_each_vector<V>(a.d, [&](int64_t i, int64_t n) {
      const auto v = V::mul(load_upto<V>(x + i, n), scale);
      store_upto<V>(y + i, V::mul(v, load_upto<V>(a.weight + i, n)), n);
    });
  }
}

template <class V>
void layer_norm_rows(const NormArgs& a, int64_t begin, int64_t end) {
  const float inv_d = 1.0f / static_cast<float>(a.d);
  for (int64_t row = begin; row < end; ++row) {
    float* x = a.x + row * a.x_stride;
    const float* delta = a.delta == nullptr ? nullptr : a.delta + row * a.delta_stride;
    float* y = a.y + row * a.y_stride;
    auto sum = V::zero();
    visit_row<V>(x, delta, a.d, [&](typename V::F v, int64_t) { sum = V::add(sum, v); });
    const auto mean = V::set1(V::reduce_add(sum) * inv_d);
    // A second pass for the variance: E[x^2] - mean^2 cancels when the mean is large. The row is in
    // the first cache by now.
    auto squares = V::zero();
    for_each_vector<V>(a.d, [&](int64_t i, int64_t n) {
      auto v = V::sub(load_upto<V>(x + i, n), mean);
      if (n < V::kWidth) v = V::first_n(v, n);
      squares = V::fma(v, v, squares);
    });
    const auto scale = V::set1(1.0f / __builtin_sqrtf(V::reduce_add(squares) * inv_d + a.eps));
    for_each_vector<V>(a.d, [&](int64_t i, int64_t n) {
      const auto v = V::mul(V::sub(load_upto<V>(x + i, n), mean), scale);
      const auto bias = a.bias == nullptr ? V::zero() : load_upto<V>(a.bias + i, n);
      store_upto<V>(y + i, V::fma(v, load_upto<V>(a.weight + i, n), bias), n);
    });
  }
}

template <class V>
void rotary_rows(const RotaryArgs& a, int64_t begin, int64_t end) {
  const int64_t half = a.head_dim / 2;
  for (int64_t row = begin; row < end; ++row) {
    const float* cos = a.cos + row * a.angle_stride;
    const float* sin = a.sin + row * a.angle_stride;
    for (int64_t head = 0; head < a.heads; ++head) {
      float* x1 = a.x + row * a.row_stride + head * a.head_stride;
      float* x2 = x1 + half;
      for_each_vector<V>(half, [&](int64_t i, int64_t n) {
        const auto u = load_upto<V>(x1 + i, n), v = load_upto<V>(x2 + i, n);
        const auto c = load_upto<V>(cos + i, n), s = load_upto<V>(sin + i, n);
        store_upto<V>(x1 + i, V::sub(V::mul(u, c), V::mul(v, s)), n);
        store_upto<V>(x2 + i, V::fma(v, c, V::mul(u, s)), n);
      });
    }
  }
}

template <class V>
void silu_mul_row(const float* gate, const float* up, float* y, int64_t count) {
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    const auto g = swish_ps<V>(load_upto<V>(gate + i, n), 1.0f);
    store_upto<V>(y + i, V::mul(g, load_upto<V>(up + i, n)), n);
  });
}

template <class V>
void quick_gelu_row(float* x, int64_t count) {
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    store_upto<V>(x + i, swish_ps<V>(load_upto<V>(x + i, n), 1.702f), n);
  });
}

template <class V>
void gelu_row(float* x, int64_t count) {
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    store_upto<V>(x + i, gelu_ps<V>(load_upto<V>(x + i, n)), n);
  });
}

template <class V>
void gelu_tanh_row(float* x, int64_t count) {
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    store_upto<V>(x + i, gelu_tanh_ps<V>(load_upto<V>(x + i, n)), n);
  });
}

template <class V>
void f32_to_bf16_row(const void* from, void* to, int64_t count) {
  const auto* in = static_cast<const float*>(from);
  auto* out = static_cast<uint16_t*>(to);
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    if (n == V::kWidth) {
      V::store_bf16(out + i, V::load(in + i));
    } else {
      uint16_t rest[V::kWidth];
      V::store_bf16(rest, V::load_n(in + i, n));
      __builtin_memcpy(out + i, rest, static_cast<unsigned long>(n) * 2);
    }
  });
}

template <class V>
void bf16_to_f32_row(const void* from, void* to, int64_t count) {
  const auto* in = static_cast<const uint16_t*>(from);
  auto* out = static_cast<float*>(to);
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    if (n == V::kWidth) {
      V::store(out + i, V::load_bf16(in + i));
    } else {
      uint16_t rest[V::kWidth] = {};
      __builtin_memcpy(rest, in + i, static_cast<unsigned long>(n) * 2);
      V::store_n(out + i, V::load_bf16(rest), n);
    }
  });
}

template <class V>
void f16_to_f32_row(const void* from, void* to, int64_t count) {
  const auto* in = static_cast<const uint16_t*>(from);
  auto* out = static_cast<float*>(to);
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    if (n == V::kWidth) {
      V::store(out + i, V::load_f16(in + i));
    } else {
      uint16_t rest[V::kWidth] = {};
      __builtin_memcpy(rest, in + i, static_cast<unsigned long>(n) * 2);
      V::store_n(out + i, V::load_f16(rest), n);
    }
  });
}

/// n == V::kWidth loads a register of int8 as floats; fewer leave zeros in the rest.
template <class V>
inline typename V::F load_i8_upto(const int8_t* p, int64_t n) {
  if (n == V::kWidth) return V::load_i8(p);
  int8_t rest[V::kWidth] = {};
  __builtin_memcpy(rest, p, static_cast<unsigned long>(n));
  return V::load_i8(rest);
}

/// to[i] = bf16(from[i] * scale).
template <class V>
void i8_to_bf16_row(const void* from, float scale, int64_t count, void* to) {
  const auto* in = static_cast<const int8_t*>(from);
  auto* out = static_cast<uint16_t*>(to);
  const auto factor = V::set1(scale);
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    uint16_t rest[V::kWidth];
    uint16_t* place = n == V::kWidth ? out + i : rest;
    V::store_bf16(place, V::mul(load_i8_upto<V>(in + i, n), factor));
    if (n < V::kWidth) __builtin_memcpy(out + i, rest, static_cast<unsigned long>(n) * 2);
  });
}

/// See kernels/quantize.h.
template <class V>
void quantize_row(const float* from, int64_t count, int8_t* to, float* scale) {
  auto top = V::zero(), finite = V::zero();
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    const auto v = load_upto<V>(from + i, n);
    top = V::max(V::abs(v), top);
    finite = V::fma(v, V::zero(), finite);  // NaN once anything is NaN or infinite
  });
  const float largest = V::reduce_max(top);
  const bool valid = V::reduce_add(finite) == 0.0f;
  const bool usable = valid && largest >= kSmallestQuantized;
  *scale = usable ? largest / 127.0f : valid ? 0.0f : __builtin_nanf("");
  const auto inverse = V::set1(usable ? 127.0f / largest : 0.0f);
  for_each_vector<V>(count, [&](int64_t i, int64_t n) {
    const auto v = valid ? load_upto<V>(from + i, n) : V::zero();
    int8_t rest[V::kWidth];
    int8_t* out = n == V::kWidth ? to + i : rest;
    V::store_i8(out, V::round(V::mul(v, inverse)));
    if (n < V::kWidth) __builtin_memcpy(to + i, rest, static_cast<unsigned long>(n));
  });
}

}  // namespace reelm::kernels
