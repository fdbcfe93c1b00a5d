// The loops over a vector type V, included by one file per instruction set. Everything lives in an
// unnamed namespace: code compiled with -m flags must not be merged with anybody else's.
//
// Rows are the lanes. A block of V::kLanes source rows is transposed to columns [x*3 + c][lane]; an
// output value is then a sum of vectors times broadcast weights, with no shuffles and in the order
// of taps that the references add in, so float32 results are the same bits in every lane width. The
// sums are transposed back and stored as rows of a ring, over which the vertical pass runs along x.
#pragma once

#include <cstdint>

#include "preprocess/vector/loops.h"

namespace reelm::preprocess::vector {
namespace {

/// float32 sums; nothing to finish between the passes. torch's loop `output += t * wts` was
/// compiled by GCC for AVX2: taps 1 to 4 * ((n - 1) / 4) go four at a time through a vector
/// multiplication and are then added one by one (two roundings), the up to three taps that remain
/// are fused (one rounding). torch has no AVX-512 build of this loop, so this holds for every x86
/// machine with AVX2. Found by comparing sums tap by tap with torch 2.15; one fused sum for all
/// differs in up to 0.1 % of the bytes of a smooth image.
template <typename V>
struct FloatArithmetic {
  using Element = float;
  using Vector = typename V::Float;
  static std::int64_t unfused_end(std::int64_t count) { return 1 + (count - 1) / 4 * 4; }
  static Vector first(const Element* x, Element weight, int) {
    return V::multiply(V::load(x), V::broadcast(weight));
  }
  static Vector add(Vector sum, const Element* x, Element weight) {
    return V::add(V::multiply(V::load(x), V::broadcast(weight)), sum);
  }
  static Vector add_fused(Vector sum, const Element* x, Element weight) {
    return V::multiply_add(V::load(x), V::broadcast(weight), sum);
  }
  static Vector finish(Vector sum, int) { return sum; }
  static void transpose(const Vector* in, Element* out, std::int64_t stride) {
    V::transpose(in, out, stride);
  }
  static typename V::Int round(Vector sum, int) { return V::round_clamp(sum); }
};

/// Fixed point: sums start at one half, end with a shift and a clamp after each pass.
template <typename V, bool narrow>
struct IntArithmetic {
  using Element = std::int32_t;
  using Vector = typename V::Int;
  static std::int64_t unfused_end(std::int64_t count) { return count; }
  static Vector first(const Element* x, Element weight, int precision) {
    return add(V::broadcast(std::int32_t{1} << (precision - 1)), x, weight);
  }
  static Vector add(Vector sum, const Element* x, Element weight) {
    if constexpr (narrow) return V::multiply16_add(V::load(x), V::broadcast(weight), sum);
    return V::multiply32_add(V::load(x), V::broadcast(weight), sum);
  }
  static Vector add_fused(Vector sum, const Element* x, Element weight) {
    return add(sum, x, weight);
  }
  static Vector finish(Vector sum, int precision) { return V::shift_clamp(sum, precision); }
  static void transpose(const Vector* in, Element* out, std::int64_t stride) {
    V::transpose(in, out, stride);
  }
  static Vector round(Vector sum, int precision) { return V::shift_clamp(sum, precision); }
};

template <typename V, typename A>
void fill_columns(const HorizontalPass& p) {
  using Element = typename A::Element;
  auto* columns = static_cast<Element*>(p.columns);
  const std::uint8_t* rows[V::kLanes];
  for (std::int64_t r = 0; r < V::kLanes; ++r) {
    const std::int64_t y = p.row + r < p.height ? p.row + r : p.height - 1;
    rows[r] = p.source + y * p.source_stride;
  }
  const std::int64_t n = p.width * 3;
  std::int64_t x = 0;
  for (; x + 8 <= n; x += 8) V::columns(rows, x, columns + x * V::kLanes);
  for (; x < n; ++x) {  // eight bytes at a time would read past the last row
    for (std::int64_t r = 0; r < V::kLanes; ++r) {
      columns[x * V::kLanes + r] = static_cast<Element>(rows[r][x]);
    }
  }
}

template <typename V, typename A>
void horizontal_pass(const HorizontalPass& p) {
  using Element = typename A::Element;
  using Vector = typename A::Vector;
  fill_columns<V, A>(p);
  const auto* columns = static_cast<const Element*>(p.columns);
  const auto* weights = static_cast<const Element*>(p.weights);
  auto* target = static_cast<Element*>(p.target);
  Vector sums[3 * V::kLanes];  // kLanes pixels: three square transposes
  for (std::int64_t x0 = 0; x0 < p.n; x0 += V::kLanes) {
    for (std::int64_t i = 0; i < V::kLanes; ++i) {
      const std::int64_t x = x0 + i < p.n ? x0 + i : p.n - 1;
      const Element* in = columns + static_cast<std::int64_t>(p.first[x]) * 3 * V::kLanes;
      const Element* w = weights + x * p.weight_stride;
      Vector r = A::first(in, w[0], p.precision);
      Vector g = A::first(in + V::kLanes, w[0], p.precision);
      Vector b = A::first(in + 2 * V::kLanes, w[0], p.precision);
      in += 3 * V::kLanes;
      const std::int64_t unfused_end = A::unfused_end(p.count[x]);
      std::int64_t k = 1;
      for (; k < unfused_end; ++k, in += 3 * V::kLanes) {
        r = A::add(r, in, w[k]);
        g = A::add(g, in + V::kLanes, w[k]);
        b = A::add(b, in + 2 * V::kLanes, w[k]);
      }
      for (; k < p.count[x]; ++k, in += 3 * V::kLanes) {
        r = A::add_fused(r, in, w[k]);
        g = A::add_fused(g, in + V::kLanes, w[k]);
        b = A::add_fused(b, in + 2 * V::kLanes, w[k]);
      }
      sums[3 * i] = A::finish(r, p.precision);
      sums[3 * i + 1] = A::finish(g, p.precision);
      sums[3 * i + 2] = A::finish(b, p.precision);
    }
    for (std::int64_t t = 0; t < 3; ++t) {
      A::transpose(sums + t * V::kLanes, target + x0 * 3 + t * V::kLanes, p.target_stride);
    }
  }
}

template <typename V, typename A>
void vertical_pass(const VerticalPass& p) {
  using Element = typename A::Element;
  using Vector = typename A::Vector;
  constexpr std::int64_t kStep = 4 * V::kLanes;
  const auto* ring = static_cast<const Element*>(p.ring);
  const auto* weights = static_cast<const Element*>(p.weights);
  const std::int64_t unfused_end = A::unfused_end(p.count);
  for (std::int64_t x = 0; x < p.n; x += kStep) {
    Vector sum[4];
    std::int64_t row = p.first % p.ring_rows;
    const auto next = [&] {
      const Element* in = ring + row * p.ring_stride + x;
      if (++row == p.ring_rows) row = 0;
      return in;
    };
    const Element* in = next();
    for (std::int64_t v = 0; v < 4; ++v) {
      sum[v] = A::first(in + v * V::kLanes, weights[0], p.precision);
    }
    std::int64_t k = 1;
    for (; k < unfused_end; ++k) {
      in = next();
      for (std::int64_t v = 0; v < 4; ++v) sum[v] = A::add(sum[v], in + v * V::kLanes, weights[k]);
    }
    for (; k < p.count; ++k) {
      in = next();
      for (std::int64_t v = 0; v < 4; ++v) {
        sum[v] = A::add_fused(sum[v], in + v * V::kLanes, weights[k]);
      }
    }
    typename V::Int bytes[4];
    for (std::int64_t v = 0; v < 4; ++v) bytes[v] = A::round(sum[v], p.precision);
    if (x + kStep <= p.n) {
      V::store_bytes(bytes, p.target + x);
    } else {  // the next row may belong to another thread
      std::uint8_t rest[kStep];
      V::store_bytes(bytes, rest);
      for (std::int64_t i = 0; x + i < p.n; ++i) p.target[x + i] = rest[i];
    }
  }
}

template <typename V>
void horizontal(Arithmetic arithmetic, const HorizontalPass& p) {
  switch (arithmetic) {
    case Arithmetic::kFloat:
      return horizontal_pass<V, FloatArithmetic<V>>(p);
    case Arithmetic::kInt16:
      return horizontal_pass<V, IntArithmetic<V, true>>(p);
    case Arithmetic::kInt32:
      return horizontal_pass<V, IntArithmetic<V, false>>(p);
  }
}

template <typename V>
void vertical(Arithmetic arithmetic, const VerticalPass& p) {
  switch (arithmetic) {
    case Arithmetic::kFloat:
      return vertical_pass<V, FloatArithmetic<V>>(p);
    case Arithmetic::kInt16:
      return vertical_pass<V, IntArithmetic<V, true>>(p);
    case Arithmetic::kInt32:
      return vertical_pass<V, IntArithmetic<V, false>>(p);
  }
}

/// One patch line of `patch` pixels to its three channel planes. A table lookup per byte: measured
/// against converting and dividing in vectors it is as fast (the stores dominate: 1176 floats for
/// 1176 bytes) and exact by construction.
inline void patch_line(const std::uint8_t* in, const float* table, std::int64_t patch,
                       std::int64_t plane, float* out) {
  for (std::int64_t x = 0; x < patch; ++x) {
    out[x] = table[in[3 * x]];
    out[plane + x] = table[256 + in[3 * x + 1]];
    out[2 * plane + x] = table[512 + in[3 * x + 2]];
  }
}

inline void patchify_rows(const PatchifyRows& p) {
  const std::int64_t area = p.patch * p.patch;
  const std::int64_t plane = p.temporal * area;  // one channel of a patch
  const std::int64_t row_size = 3 * plane;
  for (std::int64_t my = p.begin; my < p.end; ++my) {
    for (std::int64_t mx = 0; mx < p.grid_w / p.merge; ++mx) {
      for (std::int64_t cell = 0; cell < p.merge * p.merge; ++cell) {
        const std::int64_t py = my * p.merge + cell / p.merge;
        const std::int64_t px = mx * p.merge + cell % p.merge;
        float* row =
            p.target + ((my * (p.grid_w / p.merge) + mx) * p.merge * p.merge + cell) * row_size;
        for (std::int64_t t = 0; t < p.temporal; ++t) {
          const std::uint8_t* in = p.frames[t] + (py * p.patch * p.width + px * p.patch) * 3;
          for (std::int64_t y = 0; y < p.patch; ++y) {
            patch_line(in + y * p.width * 3, p.table, p.patch, plane, row + t * area + y * p.patch);
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace reelm::preprocess::vector
