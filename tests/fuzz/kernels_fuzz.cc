// One kernel, its sizes and values, on every instruction set (AVX-512 emulated where the machine
// has none) against the oracle, with the tolerances of tests/kernels.
#include <bit>
#include <cmath>
#include <cstdio>

#include "core/parallel.h"
#include "kernels/reference/reference.h"
#include "tests/fuzz/fuzz.h"
#include "tests/kernels/kernel_sets.h"
#include "tests/kernels/stored_blocks.h"
#include "tests/support/compare.h"

namespace reelm::fuzz {
namespace {

using namespace kernels;
using reelm::testing::all_close;
using reelm::testing::all_equal_bits;
using reelm::testing::Tolerance;
using Floats = std::vector<float>;

void expect(const KernelSet& set, const ::testing::AssertionResult& result) {
  if (result) return;
  std::fprintf(stderr, "%s: %s\n", set.name.c_str(), result.message());
  REELM_CHECK(!"a kernel differs from the oracle");
}

/// Runs `fn` with each set.
template <typename Fn>
void on_every_set(Fn&& fn) {
  static const std::vector<KernelSet> sets = all_sets();
  for (const KernelSet& set : sets) {
    if (set.emulated != nullptr) {
      set_table_for_testing(set.emulated);
    } else {
      set_active_isa(set.isa);
    }
    fn(set);
  }
  set_table_for_testing(nullptr);
}

/// n floats in [-range, range]: pseudo-random, and some of them the input's own.
Floats take_floats(Input& in, std::int64_t n, float range) {
  Floats out = random_floats(n, in.take<std::uint16_t>(), range);
  for (auto chosen = in.number(0, 8); chosen > 0 && n > 0; --chosen) {
    const auto place = static_cast<std::size_t>(in.number(0, n - 1));
    const auto value = in.take<float>();
    if (std::abs(value) <= range) out[place] = value;
  }
  return out;
}

/// Any bits at all.
Floats take_any_floats(Input& in, std::int64_t n) {
  Floats out = random_floats(n, in.take<std::uint16_t>(), 100.0f);
  for (float& v : out) {
    if (in.empty()) break;
    v = in.take<float>();
  }
  return out;
}

void check_norms(Input& in) {
  const std::int64_t m = in.number(0, 9), d = in.number(1, 400), row = d + in.number(0, 9);
  const Floats x = take_floats(in, m * row + 1, 3.0f), delta = take_floats(in, m * row + 1, 3.0f);
  const Floats weight = take_floats(in, d, 1.0f), bias = take_floats(in, d, 1.0f);
  const bool layer = in.coin();
  const float eps = in.coin() ? 1e-6f : 1e-5f;
  // Where a row is nearly constant, what layer_norm leaves of it is off by an ulp / sqrt(eps).
  const Tolerance tolerance = layer ? Tolerance{5e-4, 2e-5} : Tolerance{2e-6, 2e-6};
  const auto view = [&](Floats& v) { return TensorView<float>(v.data() + 1, {m, d}, {row, 1}); };
  Floats given = x, deltas = delta;
  Floats expected(x.size()), sum = x, expected_sum(x.size());
  layer ? reference::layer_norm(view(given), weight.data(), bias.data(), eps, view(expected))
        : reference::rms_norm(view(given), weight.data(), eps, view(expected));
  layer ? reference::add_layer_norm(view(sum), view(deltas), weight.data(), bias.data(), eps,
                                    view(expected_sum))
        : reference::add_rms_norm(view(sum), view(deltas), weight.data(), eps, view(expected_sum));
  on_every_set([&](const KernelSet& set) {
    Floats y(x.size());
    layer ? layer_norm(view(given), weight.data(), bias.data(), eps, view(y))
          : rms_norm(view(given), weight.data(), eps, view(y));
    expect(set, all_close(y, expected, tolerance));
    Floats residual = x, z(x.size());
    layer ? add_layer_norm(view(residual), view(deltas), weight.data(), bias.data(), eps, view(z))
          : add_rms_norm(view(residual), view(deltas), weight.data(), eps, view(z));
    expect(set, all_close(residual, sum, {}));
    expect(set, all_close(z, expected_sum, tolerance));
  });
}

void check_activations(Input& in) {
  const std::int64_t m = in.number(0, 5), d = in.number(0, 300), row = 2 * d + in.number(0, 9);
  const Floats x = take_floats(in, m * row + 1, 100.0f);
  const auto wide = [&](Floats& v) {
    return TensorView<float>(v.data() + 1, {m, 2 * d}, {row, 1});
  };
  const auto half = [&](Floats& v) { return TensorView<float>(v.data() + 1, {m, d}, {row, 1}); };
  Floats quick = x, exact = x, tanh = x, given = x, product = x;
  reference::quick_gelu(wide(quick));
  reference::gelu(wide(exact));
  reference::gelu_tanh(wide(tanh));
  reference::silu_mul(wide(given), half(product));
  on_every_set([&](const KernelSet& set) {
    Floats y = x;
    quick_gelu(wide(y));
    expect(set, all_close(y, quick, {5e-7, 5e-7}));
    y = x;
    gelu(wide(y));
    expect(set, all_close(y, exact, {1e-6, 1e-6}));
    y = x;
    gelu_tanh(wide(y));
    expect(set, all_close(y, tanh, {5e-7, 5e-7}));
    y = x;
    silu_mul(wide(y), half(y));  // in place
    expect(set, all_close(y, product, {5e-7, 5e-7}));
  });
}

void check_rotary(Input& in) {
  const std::int64_t n = in.number(0, 9), heads = in.number(1, 7), half = in.number(1, 80);
  const std::int64_t head_row = 2 * half + in.number(0, 5),
                     row = heads * head_row + in.number(0, 9);
  const Floats x = take_floats(in, n * row + 1, 1.0f);
  const Floats cos = take_floats(in, n * half, 1.0f), sin = take_floats(in, n * half, 1.0f);
  const auto view = [&](Floats& v) {
    return TensorView<float>(v.data() + 1, {n, heads, 2 * half}, {row, head_row, 1});
  };
  const TensorView<const float> c(cos.data(), {n, half}), s(sin.data(), {n, half});
  Floats expected = x;
  reference::rotary(view(expected), c, s);
  on_every_set([&](const KernelSet& set) {
    Floats y = x;
    rotary(view(y), c, s);
    expect(set, all_close(y, expected, {.atol = 1e-6}));
  });
}

/// The same bits, or NaN in both: hardware sets the quiet bit of a signalling one.
void expect_same(const KernelSet& set, const Floats& y, const Floats& expected) {
  for (std::size_t i = 0; i < y.size(); ++i) {
    if (std::isnan(y[i]) && std::isnan(expected[i])) continue;
    REELM_CHECK(std::bit_cast<std::uint32_t>(y[i]) == std::bit_cast<std::uint32_t>(expected[i]));
  }
  (void)set;
}

void check_conversions(Input& in) {
  const std::int64_t n = in.number(0, 200);
  const Floats x = take_any_floats(in, n);
  const auto size = static_cast<std::size_t>(n);
  std::vector<bf16_t> narrow(size);
  std::vector<f16_t> halves(size);
  for (f16_t& h : halves) h.bits = in.take<std::uint16_t>();
  Floats back(size), from_halves(size);
  reference::convert(x.data(), narrow.data(), n);
  reference::convert(narrow.data(), back.data(), n);
  reference::convert(halves.data(), from_halves.data(), n);
  on_every_set([&](const KernelSet& set) {
    std::vector<bf16_t> y(size);
    Floats z(size);
    convert(x.data(), y.data(), n);
    expect(set, all_equal_bits(y, narrow));
    convert(narrow.data(), z.data(), n);
    expect_same(set, z, back);
    convert(halves.data(), z.data(), n);
    expect_same(set, z, from_halves);
  });
}

void check_quantise_rows(Input& in) {
  const std::int64_t n = in.number(0, 4), d = in.number(1, 150);
  const Floats x = take_any_floats(in, n * d);
  const TensorView<const float> from(x.data(), {n, d});
  const auto run = [&](auto&& quantise, std::vector<std::int8_t>& values) {
    Floats scales(static_cast<std::size_t>(n));
    values.assign(x.size(), 99);
    quantise(from, {values.data(), {n, d}}, scales.data());
    return scales;
  };
  using To = TensorView<std::int8_t>;
  std::vector<std::int8_t> values, expected;
  const Floats expected_scales =
      run([](auto a, To b, float* s) { reference::quantize_rows(a, b, s); }, expected);
  on_every_set([&](const KernelSet& set) {
    const Floats scales = run([](auto a, To b, float* s) { quantize_rows(a, b, s); }, values);
    REELM_CHECK(values == expected);
    expect_same(set, scales, expected_scales);
  });
}

struct Sizes {
  std::int64_t m, n, k, x_row, y_row;
};

/// k is whole blocks of so many.
Sizes take_sizes(Input& in, std::int64_t block) {
  const std::int64_t m = in.number(0, 40), n = in.number(1, 150);
  const std::int64_t k = block * in.number(1, 300 / block);
  const std::int64_t x_row = k + in.number(0, 9), y_row = n + in.number(0, 9);
  return {m, n, k, x_row, y_row};
}

/// Of activations within 1 and a weight within 2.
void check_product(Input& in, const Sizes& s, const StoredMatrix& stored, ComputeType type) {
  const Floats bias = take_floats(in, s.n, 1.0f);
  const Floats x = take_floats(in, s.m * s.x_row + 1, 1.0f);
  const Floats y0 = take_floats(in, s.m * s.y_row + 1, 1.0f);
  const Epilogue epilogue = {.bias = in.coin() ? bias.data() : nullptr,
                             .activation = static_cast<Activation>(in.number(0, 3)),
                             .accumulate = in.coin()};
  const PackedMatrix packed(stored, type);
  const TensorView<const float> xv(x.data() + 1, {s.m, s.k}, {s.x_row, 1});
  const auto view = [&](Floats& v) {
    return TensorView<float>(v.data() + 1, {s.m, s.n}, {s.y_row, 1});
  };
  Floats expected = y0;
  is_quantized(type) ? reference::matmul_quantised(xv, packed, view(expected), epilogue)
                     : reference::matmul(xv, {&stored, 1}, type, view(expected), epilogue);
  const auto width = static_cast<double>(s.k);
  const Tolerance tolerance = is_quantized(type) ? Tolerance{4e-7 * width + 1e-6, 4e-6}
                                                 : Tolerance{2e-7 * width + 1e-6, 2e-6};
  on_every_set([&](const KernelSet& set) {
    const PackedMatrix here(stored, type);
    expect(set, all_equal_bits(here.packed_bytes(), packed.packed_bytes()));
    Floats y = y0;
    matmul(xv, here, view(y), epilogue);
    expect(set, all_close(y, expected, tolerance));
  });
}

void check_matmul(Input& in) {
  const auto type = static_cast<ComputeType>(in.number(0, 3));
  const Sizes sizes = take_sizes(in, 1);
  const Floats weight = take_floats(in, sizes.n * sizes.k, 1.0f);
  check_product(in, sizes, {weight.data(), DType::kF32, sizes.n, sizes.k}, type);
}

void check_matmul_ggml(Input& in) {
  const auto type = in.coin() ? ComputeType::kQ4_0 : ComputeType::kQ8_0;
  const Sizes sizes = take_sizes(in, 32);
  StoredBlocks blocks(type, sizes.n, sizes.k, in.take<std::uint16_t>());
  // Some scales are the input's own: zeros and subnormal ones too.
  for (auto chosen = in.number(0, 8); chosen > 0; --chosen) {
    const std::int64_t place = in.number(0, blocks.blocks() - 1);
    const auto scale = in.take<f16_t>();
    if (std::abs(to_float(scale)) <= blocks.most_scale()) blocks.set_scale(place, scale.bits);
  }
  check_product(in, sizes, blocks.matrix(), type);
}

void check_attention(Input& in) {
  const std::int64_t n_q = in.number(0, 40), n_k = in.number(0, 100), d = in.number(1, 100);
  const std::int64_t kv_heads = in.number(1, 3), heads = kv_heads * in.number(1, 7);
  const bool causal = in.coin(), bf16 = in.coin();
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const Floats q = take_floats(in, n_q * heads * d, 1.0f);
  const Floats k = take_floats(in, n_k * kv_heads * d, 1.0f);
  const Floats v = take_floats(in, n_k * kv_heads * d, 1.0f);
  const TensorView<const float> qv(q.data(), {n_q, heads, d});
  const TensorView<const float> kv(k.data(), {n_k, kv_heads, d}), vv(v.data(), {n_k, kv_heads, d});
  const auto view = [&](Floats& out) { return TensorView<float>(out.data(), {n_q, heads, d}); };
  Floats expected(q.size());
  reference::attention(qv, kv, vv, view(expected), scale, causal);
  on_every_set([&](const KernelSet& set) {
    Floats out(q.size());
    attention(qv, kv, vv, view(out), scale, causal, bf16 ? ComputeType::kBF16 : ComputeType::kF32);
    expect(set, all_close(out, expected, bf16 ? Tolerance{1e-2, 1e-2} : Tolerance{1e-5, 1e-5}));
  });
}

void check_attention_int8(Input& in) {
  const std::int64_t n_q = in.number(0, 20), n_k = in.number(0, 100), d = in.number(1, 100);
  const std::int64_t kv_heads = in.number(1, 3), heads = kv_heads * in.number(1, 7);
  const bool causal = in.coin();
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const Floats q = take_floats(in, n_q * heads * d, 1.0f);
  const std::int64_t rows = n_k * kv_heads;
  struct Store {
    std::vector<std::int8_t> values;
    Floats scales;
  };
  const auto take = [&] {
    const Floats from = take_floats(in, rows * d, 1.0f);
    Store s = {std::vector<std::int8_t>(from.size()), Floats(static_cast<std::size_t>(rows))};
    reference::quantize_rows({from.data(), {rows, d}}, {s.values.data(), {rows, d}},
                             s.scales.data());
    return s;
  };
  const Store k = take(), v = take();
  const auto read = [&](const Store& s) {
    return Int8Heads{{s.values.data(), {n_k, kv_heads, d}}, {s.scales.data(), {n_k, kv_heads}}};
  };
  const TensorView<const float> qv(q.data(), {n_q, heads, d});
  const auto view = [&](Floats& out) { return TensorView<float>(out.data(), {n_q, heads, d}); };
  Floats expected(q.size());
  reference::attention(qv, read(k), read(v), view(expected), scale, causal);
  on_every_set([&](const KernelSet& set) {
    Floats out(q.size());
    attention(qv, read(k), read(v), view(out), scale, causal);
    expect(set, all_close(out, expected, {1e-4, 1e-4}));
    attention(qv, read(k), read(v), view(out), scale, causal, ComputeType::kBF16);
    expect(set, all_close(out, expected, {2e-2, 1e-2}));
  });
}

}  // namespace

void fuzz_one(Bytes input) {
  set_num_threads(1);
  Input in(input);
  constexpr void (*kChecks[])(Input&) = {check_norms,       check_activations,   check_rotary,
                                         check_conversions, check_quantise_rows, check_matmul,
                                         check_attention,   check_attention_int8};
  const auto choice = in.take<std::uint8_t>();
  // What came later has the last bytes: inputs that were kept mean what they meant.
  if (choice >= 0xe0) return check_matmul_ggml(in);
  kChecks[choice % std::size(kChecks)](in);
}

}  // namespace reelm::fuzz
