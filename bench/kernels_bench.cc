// Speed of the kernels at the shapes of Qwen2-VL-2B, beside what the machine can do at best:
//   reelm-kernels-bench --benchmark_filter=Ceiling     the ceilings
//   REELM_ISA=avx2 OMP_NUM_THREADS=1 reelm-kernels-bench ...
// "type" is ComputeType: 0 f32, 1 bf16, 2 int8, 3 int4, 4 q8_0, 5 q4_0. Products report GFLOP/s;
// what streams memory reports GB/s of the bytes it must read.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/parallel.h"
#include "kernels/activation.h"
#include "kernels/attention.h"
#include "kernels/convert.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"

namespace reelm::kernels {
namespace {

using benchmark::Counter;

void flops(benchmark::State& state, double per_iteration) {
  state.counters["GFLOP/s"] =
      Counter(per_iteration * 1e-9, Counter::kIsIterationInvariantRate, Counter::kIs1000);
}
void bytes(benchmark::State& state, double per_iteration) {
  state.counters["GB/s"] =
      Counter(per_iteration * 1e-9, Counter::kIsIterationInvariantRate, Counter::kIs1000);
}

AlignedBuffer<float> filled(std::int64_t n) {
  AlignedBuffer<float> out(static_cast<std::size_t>(n));
  std::uint32_t x = 1;
  for (float& v : out) {
    x = x * 1664525u + 1013904223u;
    v = static_cast<float>(x >> 8) / 8388608.0f - 1.0f;
  }
  return out;
}

/// A weight for packing to a type: [n, k] as floats or, where that keeps blocks, as such.
struct MadeUpWeight {
  MadeUpWeight(std::int64_t n, std::int64_t k, ComputeType type)
      : dtype(keeps_blocks(type) ? stored_type(type) : DType::kF32), rows(n), cols(k) {
    if (!is_quantized(dtype)) {
      floats = filled(n * k);
      return;
    }
    blocks.resize(static_cast<std::size_t>(dtype_bytes(dtype, n * k)));
    std::uint8_t x = 1;
    for (std::uint8_t& byte : blocks) byte = x = static_cast<std::uint8_t>(x * 5 + 3);
  }
  StoredMatrix matrix() const {
    const void* data = floats.size() > 0 ? static_cast<const void*>(floats.data()) : blocks.data();
    return {data, dtype, rows, cols};
  }

  DType dtype;
  std::int64_t rows, cols;
  AlignedBuffer<float> floats;
  std::vector<std::uint8_t> blocks;
};

ComputeType math_of(std::int64_t bf16) {
  return bf16 != 0 ? ComputeType::kBF16 : ComputeType::kF32;
}

// ---- ceilings ----------------------------------------------------------------------------------

// Streams 512 MB with as many prefetches ahead as it takes; 64 bytes at a time, 4 streams a thread.
void CeilingRead(benchmark::State& state) {
  constexpr std::int64_t kFloats = std::int64_t{128} << 20;
  const AlignedBuffer<float> data = filled(kFloats);
  typedef float Lanes __attribute__((vector_size(16)));
  for (auto _ : state) {
    parallel_for(kFloats / 4096, 1, [&](std::int64_t begin, std::int64_t end) {
      const std::int64_t quarter = (end - begin) * 1024;
      const float* p = data.data() + begin * 4096;
      Lanes sum[4] = {};
      for (std::int64_t i = 0; i < quarter; i += 16) {
        for (int s = 0; s < 4; ++s) {
          const float* line = p + s * quarter + i;
          __builtin_prefetch(line + 1024, 0, 3);
          for (int j = 0; j < 16; j += 4) sum[s] += *reinterpret_cast<const Lanes*>(line + j);
        }
      }
      for (const Lanes& s : sum) benchmark::DoNotOptimize(s);
    });
  }
  bytes(state, static_cast<double>(kFloats) * 4);
}
BENCHMARK(CeilingRead)->UseRealTime()->Unit(benchmark::kMillisecond);

// A product whose operands all lie in the first two caches: what the micro-kernel can do.
void CeilingProductInCache(benchmark::State& state) {
  const auto type = static_cast<ComputeType>(state.range(0));
  const std::int64_t m = 96 * num_threads(), n = 128, k = 256;
  const AlignedBuffer<float> x = filled(m * k);
  AlignedBuffer<float> y(static_cast<std::size_t>(m * n));
  const PackedMatrix packed(MadeUpWeight(n, k, type).matrix(), type);
  for (auto _ : state) matmul({x.data(), {m, k}}, packed, {y.data(), {m, n}});
  flops(state, 2.0 * static_cast<double>(m * n * k));
}
BENCHMARK(CeilingProductInCache)->ArgName("type")->DenseRange(0, 5)->UseRealTime();

// ---- products ----------------------------------------------------------------------------------

void Matmul(benchmark::State& state) {
  const auto type = static_cast<ComputeType>(state.range(0));
  const std::int64_t m = state.range(1), k = state.range(2), n = state.range(3);
  // Few rows: enough copies of the weight that none stays in a cache.
  const auto weight_bytes =
      static_cast<std::int64_t>(static_cast<double>(n * k) * bits_per_weight(type) / 8.0);
  const std::int64_t copies = m > 16 ? 1 : 1 + (std::int64_t{256} << 20) / weight_bytes;
  const MadeUpWeight weight(n, k, type);
  const AlignedBuffer<float> x = filled(m * k);
  AlignedBuffer<float> y(static_cast<std::size_t>(m * n));
  std::vector<PackedMatrix> packed;
  for (std::int64_t i = 0; i < copies; ++i) packed.emplace_back(weight.matrix(), type);
  std::size_t next = 0;
  for (auto _ : state) {
    matmul({x.data(), {m, k}}, packed[next], {y.data(), {m, n}});
    next = (next + 1) % packed.size();
  }
  flops(state, 2.0 * static_cast<double>(m * n * k));
  if (m <= 16) bytes(state, static_cast<double>(packed[0].size_bytes()));
  state.SetLabel(std::string(isa_name(last_isa_run())));
}
void model_shapes(benchmark::internal::Benchmark* b) {
  b->ArgNames({"type", "m", "k", "n"});
  for (const int type : {0, 1, 2, 3, 4, 5}) {
    for (const auto& [k, n] : {std::pair{1280, 3840}, {1280, 1280}, {1280, 5120}, {5120, 1280}}) {
      b->Args({type, 1196, k, n});
    }
    for (const auto& [k, n] : {std::pair{1536, 2048}, {1536, 1536}, {1536, 17920}, {8960, 1536}}) {
      b->Args({type, 512, k, n});
      for (const int m : {1, 2, 4, 8, 16}) b->Args({type, m, k, n});
    }
  }
}
BENCHMARK(Matmul)->Apply(model_shapes)->UseRealTime()->Unit(benchmark::kMicrosecond);

void Pack(benchmark::State& state) {
  const auto type = static_cast<ComputeType>(state.range(0));
  constexpr std::int64_t kN = 8960, kK = 1536;
  const std::vector<std::uint16_t> weight(kN * kK, 0x3f80);
  for (auto _ : state) {
    const PackedMatrix packed(StoredMatrix{weight.data(), DType::kBF16, kN, kK}, type);
    benchmark::DoNotOptimize(packed.size_bytes());
  }
  bytes(state, 2.0 * kN * kK);
}
BENCHMARK(Pack)->ArgName("type")->DenseRange(0, 3)->UseRealTime()->Unit(benchmark::kMillisecond);

// ---- attention ---------------------------------------------------------------------------------

// One ViT slice of range(0) patches: 16 heads of 80, rows of a fused q/k/v matrix. range(1): math.
void AttentionVit(benchmark::State& state) {
  const std::int64_t n = state.range(0), heads = 16, d = 80, row = 3 * heads * d;
  const AlignedBuffer<float> qkv = filled(n * row);
  AlignedBuffer<float> out(static_cast<std::size_t>(n * heads * d));
  const auto view = [&](int part) {
    return TensorView<const float>(qkv.data() + part * heads * d, {n, heads, d}, {row, d, 1});
  };
  const std::vector<std::int64_t> cu_seqlens = {0, n};
  for (auto _ : state) {
    attention_forward_varlen(view(0), view(1), view(2), {out.data(), {n, heads, d}}, cu_seqlens,
                             cu_seqlens, 0.11f, false, math_of(state.range(1)));
  }
  flops(state, 4.0 * static_cast<double>(n * n * heads * d));
}
// 26 x 46 patches are a 644 x 364 slice; 78 x 40 and twice that show how time grows.
BENCHMARK(AttentionVit)
    ->ArgNames({"n", "bf16"})
    ->ArgsProduct({{390, 780, 1196, 1560, 3120, 6240}, {0, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

/// `from` as elements first .. of `to`.
void fill_elements(const AlignedBuffer<float>& from, char* to, std::int64_t first,
                   std::int64_t element) {
  const auto n = static_cast<std::int64_t>(from.size());
  if (element == 4) {
    std::copy(from.begin(), from.end(), reinterpret_cast<float*>(to) + first);
  } else if (element == 2) {
    convert(from.data(), reinterpret_cast<bf16_t*>(to) + first, n);
  } else {
    for (std::int64_t i = 0; i < n; ++i) {
      to[first + i] = static_cast<char>(from[static_cast<std::size_t>(i)] * 127.0f);
    }
  }
}

// A prompt in the decoder: 12 query heads, 2 kv heads of 128. range(0): queries, range(1): keys.
void AttentionPrefill(benchmark::State& state) {
  const std::int64_t n_q = state.range(0), n_k = state.range(1), d = 128;
  const AlignedBuffer<float> q = filled(n_q * 12 * d), kv = filled(n_k * 2 * d);
  AlignedBuffer<bf16_t> kv16(kv.size());
  convert(kv.data(), kv16.data(), n_k * 2 * d);
  AlignedBuffer<float> out(q.size());
  const TensorView<const float> k(kv.data(), {n_k, 2, d}, {d, n_k * d, 1});
  const TensorView<const bf16_t> k16(kv16.data(), {n_k, 2, d}, {d, n_k * d, 1});
  const TensorView<const float> queries(q.data(), {n_q, 12, d});
  const TensorView<float> to(out.data(), {n_q, 12, d});
  for (auto _ : state) {
    if (state.range(2) != 0) {
      attention(queries, k16, k16, to, 0.088f, true, ComputeType::kBF16);
    } else {
      attention(queries, k, k, to, 0.088f, true);
    }
  }
  const double seen = static_cast<double>(n_q) * static_cast<double>(2 * n_k - n_q + 1) / 2;
  flops(state, 4.0 * seen * 12 * static_cast<double>(d));
}
BENCHMARK(AttentionPrefill)
    ->ArgNames({"n_q", "n_k", "bf16"})
    ->Args({512, 4096, 0})
    ->Args({512, 4096, 1})
    ->ArgsProduct({{512}, {512}, {0, 1}})
    ->Args({1024, 1024, 1})
    ->Args({2048, 2048, 1})
    ->Args({4096, 4096, 1})
    ->Args({8192, 8192, 1})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

// One decode step's attention at range(0) positions, in layers of their own keys and values as the
// KV cache lays them out: enough layers (up to 28) that 256 MB go by before one comes again, so
// that nothing is left of it in the last cache. range(1): bytes of an element. Time is of a layer.
void AttentionDecode(benchmark::State& state) {
  const std::int64_t n = state.range(0), heads = 2, d = 128;
  const std::int64_t element = state.range(1), layer = 2 * heads * n * d;
  const std::int64_t layers = std::clamp<std::int64_t>((256 << 20) / (layer * element), 1, 28);
  AlignedBuffer<char> cache(static_cast<std::size_t>(layers * layer * element));
  const AlignedBuffer<float> some = filled(layer), q = filled(12 * d);
  const AlignedBuffer<float> scales = filled(layers * 2 * heads * n);
  for (std::int64_t l = 0; l < layers; ++l) fill_elements(some, cache.data(), l * layer, element);
  AlignedBuffer<float> out(q.size());
  std::int64_t index = 0;
  for (auto _ : state) {
    const auto part = [&]<typename T>(std::int64_t which) {
      return TensorView<const T>(
          reinterpret_cast<const T*>(cache.data()) + index * layer + which * heads * n * d,
          {n, heads, d}, {d, n * d, 1});
    };
    const TensorView<const float> queries(q.data(), {1, 12, d});
    const TensorView<float> to(out.data(), {1, 12, d});
    if (element == 4) {
      attention(queries, part.operator()<float>(0), part.operator()<float>(1), to, 0.088f, true);
    } else if (element == 2) {
      attention(queries, part.operator()<bf16_t>(0), part.operator()<bf16_t>(1), to, 0.088f, true);
    } else {
      const auto heads_of = [&](std::int64_t which) {
        const float* first = scales.data() + (index * 2 + which) * heads * n;
        return Int8Heads{part.operator()<std::int8_t>(which), {first, {n, heads}, {1, n}}};
      };
      attention(queries, heads_of(0), heads_of(1), to, 0.088f, true);
    }
    index = (index + 1) % layers;
  }
  flops(state, 4.0 * static_cast<double>(n * 12 * d));
  // Int8 has a scale of 4 bytes a row.
  bytes(state, static_cast<double>(layer * element + (element == 1 ? layer / d * 4 : 0)));
}
BENCHMARK(AttentionDecode)
    ->ArgNames({"n_k", "element"})
    ->ArgsProduct({{512, 4096, 16384, 32768}, {4, 2, 1}})
    ->UseRealTime()
    ->Unit(benchmark::kMicrosecond);

// ---- the rest ----------------------------------------------------------------------------------

void AddNorm(benchmark::State& state) {
  const std::int64_t m = state.range(0), d = 1536;
  AlignedBuffer<float> x = filled(m * d), y(x.size());
  const AlignedBuffer<float> delta = filled(m * d), weight = filled(d);
  for (auto _ : state) {
    add_rms_norm({x.data(), {m, d}}, {delta.data(), {m, d}}, weight.data(), 1e-6f,
                 {y.data(), {m, d}});
  }
  bytes(state, static_cast<double>(m * d) * 16);
}
BENCHMARK(AddNorm)->ArgName("m")->Arg(1)->Arg(512)->UseRealTime();

void LayerNorm(benchmark::State& state) {
  const std::int64_t m = 1196, d = 1280;
  const AlignedBuffer<float> x = filled(m * d), weight = filled(d);
  AlignedBuffer<float> y(x.size());
  for (auto _ : state) {
    layer_norm({x.data(), {m, d}}, weight.data(), weight.data(), 1e-6f, {y.data(), {m, d}});
  }
  bytes(state, static_cast<double>(m * d) * 8);
}
BENCHMARK(LayerNorm)->UseRealTime();

void SiluMul(benchmark::State& state) {
  const std::int64_t m = state.range(0), d = 8960;
  const AlignedBuffer<float> x = filled(m * 2 * d);
  AlignedBuffer<float> y(static_cast<std::size_t>(m * d));
  for (auto _ : state) silu_mul({x.data(), {m, 2 * d}}, {y.data(), {m, d}});
  bytes(state, static_cast<double>(m * d) * 12);
}
BENCHMARK(SiluMul)->ArgName("m")->Arg(1)->Arg(512)->UseRealTime();

void Gelu(benchmark::State& state) {
  const std::int64_t m = 299, d = 5120;
  AlignedBuffer<float> x = filled(m * d);
  for (auto _ : state) gelu({x.data(), {m, d}});
  bytes(state, static_cast<double>(m * d) * 8);
}
BENCHMARK(Gelu)->UseRealTime();

void Rotary(benchmark::State& state) {
  const std::int64_t n = 1196, heads = 32, d = 80;
  AlignedBuffer<float> x = filled(n * heads * d);
  const AlignedBuffer<float> angles = filled(n * d / 2);
  const TensorView<const float> a(angles.data(), {n, d / 2});
  for (auto _ : state) rotary({x.data(), {n, heads, d}}, a, a);
  bytes(state, static_cast<double>(n * heads * d) * 8);
}
BENCHMARK(Rotary)->UseRealTime();

}  // namespace
}  // namespace reelm::kernels

BENCHMARK_MAIN();
