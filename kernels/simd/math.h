// Elementary functions on registers. Everything in simd/ is a template over V, the registers of one
// instruction set (see avx2/vec.h for the list of what V provides), so that instantiations for
// different sets never share a symbol.
#pragma once

#include <stdint.h>

namespace reelm::kernels {

/// e^x for x in [-87.3, 88.3], clamped outside; error below 2 ulp. NaN stays NaN. Polynomial:
/// Cephes expf.
template <class V>
inline typename V::F exp_ps(typename V::F x) {
  x = V::min(V::set1(88.3762626f), V::max(V::set1(-87.3365448f), x));  // this order keeps NaN
  const auto n = V::round(V::mul(x, V::set1(1.44269504f)));
  auto r = V::fma(n, V::set1(-0.693359375f), x);
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  auto p = V::set1(1.9875691500e-4f);
  p = V::fma(p, r, V::set1(1.3981999507e-3f));
  p = V::fma(p, r, V::set1(8.3334519073e-3f));
  p = V::fma(p, r, V::set1(4.1665795894e-2f));
  p = V::fma(p, r, V::set1(1.6666665459e-1f));
  p = V::fma(p, r, V::set1(5.0000001201e-1f));
  p = V::fma(p, V::mul(r, r), V::add(r, V::set1(1.0f)));
  return V::mul(p, V::pow2(n));
}

/// 2^x for x <= 127, exactly 0 below -126 (a masked score is -inf). Relative error of the
/// polynomial 2e-8 (Chebyshev nodes on [-1/2, 1/2]). The same bits with V::pow2_times, which is 5
/// instructions of 15 less.
template <class V>
inline typename V::F exp2_ps(typename V::F x) {
  constexpr bool kScales = requires(typename V::F v) {
    V::pow2_times(v, v, v, v);
  };  // whatever lies below `lowest`
  const auto lowest = V::set1(-126.0f);
  const auto clamped = kScales ? x : V::max(lowest, x);
  const auto n = V::round(clamped);
  const auto f = V::sub(clamped, n);
  auto p = V::set1(1.54614449e-4f);
  p = V::fma(p, f, V::set1(1.3400428e-3f));
  p = V::fma(p, f, V::set1(9.61805694e-3f));
  p = V::fma(p, f, V::set1(5.55032715e-2f));
  p = V::fma(p, f, V::set1(2.40226507e-1f));
  p = V::fma(p, f, V::set1(6.93147182e-1f));
  p = V::fma(p, f, V::set1(1.0f));
  if constexpr (kScales) {
    return V::pow2_times(p, n, x, lowest);
  } else {
    return V::zero_where_less(V::mul(p, V::pow2(n)), x, lowest);
  }
}

/// x * sigmoid(alpha * x).
template <class V>
inline typename V::F swish_ps(typename V::F x, float alpha) {
  const auto e = exp_ps<V>(V::mul(x, V::set1(-alpha)));
  return V::div(x, V::add(V::set1(1.0f), e));
}

/// Error function, about 1 ulp (N. Juffa's two minimax polynomials, split at 475/512).
template <class V>
inline typename V::F erf_ps(typename V::F x) {
  const auto t = V::abs(x);
  const auto s = V::mul(x, x);
  auto far = V::fma(V::set1(-1.72853470e-5f), t, V::set1(3.83197126e-4f));
  const auto u = V::fma(V::set1(-3.88396438e-3f), t, V::set1(2.42546219e-2f));
  far = V::fma(far, s, u);
  far = V::fma(far, t, V::set1(-1.06777877e-1f));
  far = V::fma(far, t, V::set1(-6.34846687e-1f));
  far = V::fma(far, t, V::set1(-1.28717512e-1f));
  far = V::sub(V::mul(far, t), t);
  far = V::sub(V::set1(1.0f), exp_ps<V>(far));
  far = V::copysign(far, x);
  auto near = V::set1(-5.96761703e-4f);
  near = V::fma(near, s, V::set1(4.99119423e-3f));
  near = V::fma(near, s, V::set1(-2.67681349e-2f));
  near = V::fma(near, s, V::set1(1.12819925e-1f));
  near = V::fma(near, s, V::set1(-3.76125336e-1f));
  near = V::fma(near, s, V::set1(1.28379166e-1f));
  near = V::fma(near, x, x);
  return V::select_less(t, V::set1(0.927734375f), near, far);
}

/// 0.5 * x * (1 + erf(x / sqrt(2))).
template <class V>
inline typename V::F gelu_ps(typename V::F x) {
  const auto e = erf_ps<V>(V::mul(x, V::set1(0.707106781f)));
  return V::mul(V::mul(V::set1(0.5f), x), V::add(V::set1(1.0f), e));
}

/// 0.5 * x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))): as 0.5 * (1 + tanh(u)) is
/// 1 / (1 + exp(-2 * u)), no difference of near numbers is taken where x is far below 0.
template <class V>
inline typename V::F gelu_tanh_ps(typename V::F x) {
  const auto s = V::mul(x, x);
  const auto p =
      V::fma(s, V::set1(-2.0f * 0.797884561f * 0.044715f), V::set1(-2.0f * 0.797884561f));
  return V::div(x, V::add(V::set1(1.0f), exp_ps<V>(V::mul(x, p))));
}

}  // namespace reelm::kernels
