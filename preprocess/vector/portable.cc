// Plain C++: the oracle of the other two, and what runs on machines without AVX2.
#include <bit>
#include <cmath>

#include "preprocess/vector/loops_impl.h"

namespace reelm::preprocess::vector {
namespace {

/// a * b + c with one rounding. std::fma without hardware takes 20 to 50 ns a call; this is the
/// same value from doubles: the product of two float32 is exact in double, and rounding the sum to
/// odd (Boldo and Melquiond, 2008) makes the second rounding to float32 correct.
inline float fused(float a, float b, float c) {
  const double product = static_cast<double>(a) * static_cast<double>(b);
  const double addend = static_cast<double>(c);
  const double sum = product + addend;
  const double virtual_addend = sum - product;
  const double error = (product - (sum - virtual_addend)) + (addend - virtual_addend);
  auto bits = std::bit_cast<std::uint64_t>(sum);
  if (error != 0 && (bits & 1) == 0) bits += (error > 0) == (sum > 0) ? 1 : std::uint64_t(-1);
  return static_cast<float>(std::bit_cast<double>(bits));
}

struct Portable {
  static constexpr int kLanes = 8;
  struct Float {
    float v[kLanes];
  };
  struct Int {
    std::int32_t v[kLanes];
  };

  template <typename Vector, typename Fn>
  static Vector each(Fn fn) {
    Vector out;
    for (int i = 0; i < kLanes; ++i) out.v[i] = fn(i);
    return out;
  }

  static Float broadcast(float x) {
    return each<Float>([x](int) { return x; });
  }
  static Int broadcast(std::int32_t x) {
    return each<Int>([x](int) { return x; });
  }
  static Float load(const float* p) {
    return each<Float>([p](int i) { return p[i]; });
  }
  static Int load(const std::int32_t* p) {
    return each<Int>([p](int i) { return p[i]; });
  }
  static Float multiply(const Float& a, const Float& b) {
    return each<Float>([&](int i) { return a.v[i] * b.v[i]; });
  }
  static Float add(const Float& a, const Float& b) {
    return each<Float>([&](int i) { return a.v[i] + b.v[i]; });
  }
  static Float multiply_add(const Float& a, const Float& b, const Float& c) {
    return each<Float>([&](int i) { return fused(a.v[i], b.v[i], c.v[i]); });
  }
  static Int multiply16_add(const Int& a, const Int& b, const Int& c) {
    return each<Int>([&](int i) { return a.v[i] * b.v[i] + c.v[i]; });
  }
  static Int multiply32_add(const Int& a, const Int& b, const Int& c) {
    return multiply16_add(a, b, c);
  }
  static Int shift_clamp(const Int& a, int shift) {
    return each<Int>([&](int i) {
      const std::int32_t x = a.v[i] >> shift;
      return x < 0 ? 0 : x > 255 ? 255 : x;
    });
  }
  static Int round_clamp(const Float& a) {
    return each<Int>([&](int i) {
      const float x = a.v[i] < 0 ? 0.0f : a.v[i] > 255 ? 255.0f : a.v[i];
      return static_cast<std::int32_t>(std::nearbyint(x));  // half to even, the default mode
    });
  }
  template <typename Vector, typename Element>
  static void transpose(const Vector* in, Element* out, std::int64_t stride) {
    for (int r = 0; r < kLanes; ++r) {
      for (int x = 0; x < kLanes; ++x) out[r * stride + x] = in[x].v[r];
    }
  }
  template <typename Element>
  static void columns(const std::uint8_t* const* rows, std::int64_t x, Element* out) {
    for (int i = 0; i < 8; ++i) {
      for (int r = 0; r < kLanes; ++r) out[i * kLanes + r] = static_cast<Element>(rows[r][x + i]);
    }
  }
  static void store_bytes(const Int* in, std::uint8_t* out) {
    for (int i = 0; i < 4 * kLanes; ++i) {
      out[i] = static_cast<std::uint8_t>(in[i / kLanes].v[i % kLanes]);
    }
  }
};

}  // namespace

const Loops kPortableLoops = {Portable::kLanes, &horizontal<Portable>, &vertical<Portable>,
                              &patchify_rows};

}  // namespace reelm::preprocess::vector
