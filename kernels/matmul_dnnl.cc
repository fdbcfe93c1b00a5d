#include "kernels/matmul_dnnl.h"

#include <omp.h>

#include <compare>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <oneapi/dnnl/dnnl.hpp>
#include <shared_mutex>
#include <string_view>
#include <unordered_map>

#include "core/parallel.h"
#include "kernels/dispatch.h"

namespace reelm::kernels {

namespace {

using dnnl::memory;

// What a compiled kernel depends on.
struct Key {
  std::int64_t m, n, k;
  int threads;  // oneDNN fixes the split when it compiles
  int activation;
  bool bf16, bias, accumulate;
  auto operator<=>(const Key&) const = default;
};

struct Kernel {
  memory::desc a, b, bias, y, scratch;
  dnnl::matmul matmul;
};

// Shapes differ by m only, which follows prompts and pictures: a bound keeps a long-lived server
// from collecting kernels (about 100 KB each).
constexpr std::size_t kMaxKernels = 512;

struct Cache {
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  std::shared_mutex mutex;
  std::map<Key, std::shared_ptr<const Kernel>> kernels;  // null: oneDNN has none
};

Cache& cache() {
  static Cache* const instance = new Cache;  // outlives threads that still compute at exit
  return *instance;
}

dnnl::primitive_attr make_attributes(const Key& key) {
  dnnl::post_ops ops;
  const auto eltwise = [&](dnnl::algorithm algorithm, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
    ops.append_eltwise(algorithm, alpha, 0.0f);
#else
    ops.append_eltwise(1.0f, algorithm, alpha, 0.0f);
#endif
  };
  switch (static_cast<Activation>(key.activation)) {
    case Activation::kNone:
      break;
    case Activation::kQuickGelu:
      eltwise(dnnl::algorithm::eltwise_swish, 1.702f);
      break;
    case Activation::kGelu:
      eltwise(dnnl::algorithm::eltwise_gelu_erf, 0.0f);
      break;
    case Activation::kSilu:
      eltwise(dnnl::algorithm::eltwise_swish, 1.0f);
      break;
    case Activation::kGeluTanh:
      eltwise(dnnl::algorithm::eltwise_gelu_tanh, 0.0f);
      break;
  }
  if (key.accumulate) ops.append_sum(1.0f);
  dnnl::primitive_attr attributes;
  attributes.set_post_ops(ops);
  // The library's own scratch belongs to the thread that compiled, not to the one that runs.
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  return attributes;
}

dnnl::matmul::primitive_desc describe(const Kernel& k, const Key& key, const dnnl::engine& engine) {
  const dnnl::primitive_attr attributes = make_attributes(key);
#if DNNL_VERSION_MAJOR >= 3
  if (key.bias) return {engine, k.a, k.b, k.bias, k.y, attributes};
  return {engine, k.a, k.b, k.y, attributes};
#else
  if (key.bias) return {dnnl::matmul::desc(k.a, k.b, k.bias, k.y), attributes, engine};
  return {dnnl::matmul::desc(k.a, k.b, k.y), attributes, engine};
#endif
}

// Null when oneDNN would fall back to plain loops or has nothing at all.
std::shared_ptr<const Kernel> compile(const Key& key, const dnnl::engine& engine) {
  using Tag = memory::format_tag;
  using Type = memory::data_type;
  const Type type = key.bf16 ? Type::bf16 : Type::f32;
  auto kernel = std::make_shared<Kernel>();
  try {
    kernel->a = memory::desc({key.m, key.k}, type, Tag::ab);
    kernel->b = memory::desc({key.k, key.n}, type, key.bf16 ? Tag::BA16a64b2a : Tag::BA16a64b);
    kernel->bias = memory::desc({1, key.n}, Type::f32, Tag::ab);
    kernel->y = memory::desc({key.m, key.n}, Type::f32, Tag::ab);
    const auto description = describe(*kernel, key, engine);
    // "ref:any" takes any format, hundreds of times slower; "gemm:..." unpacks. Only the batched
    // product ("brg:avx512_core_bf16") reads the panels.
    const char* name = description.impl_info_str();
    if (name == nullptr || !std::string_view(name).starts_with("brg")) return nullptr;
    kernel->scratch = description.scratchpad_desc();
    kernel->matmul = dnnl::matmul(description);
  } catch (const dnnl::error& error) {  // oneDNN has none for this machine or shape
    if (error.status == dnnl_out_of_memory) throw std::bad_alloc();
    return nullptr;
  }
  return kernel;
}

std::shared_ptr<const Kernel> find_kernel(const DnnlProduct& p) {
  // oneDNN asks OpenMP, whose setting is per thread; ours is the process's or LoopThreads'.
  if (omp_get_max_threads() != num_threads()) omp_set_num_threads(num_threads());
  const Key key = {.m = p.m,
                   .n = p.n,
                   .k = p.k_pad,
                   .threads = num_threads(),
                   .activation = static_cast<int>(p.epilogue.activation),
                   .bf16 = p.bf16,
                   .bias = p.epilogue.bias != nullptr,
                   .accumulate = p.epilogue.accumulate};
  Cache& c = cache();
  {
    const std::shared_lock lock(c.mutex);
    const auto found = c.kernels.find(key);
    if (found != c.kernels.end()) return found->second;
  }
  auto kernel = compile(key, c.engine);
  const std::unique_lock lock(c.mutex);
  if (c.kernels.size() >= kMaxKernels) c.kernels.clear();
  return c.kernels.emplace(key, std::move(kernel)).first->second;
}

}  // namespace

bool dnnl_has_kernel(const DnnlProduct& product) { return find_kernel(product) != nullptr; }

void dnnl_run(const DnnlProduct& p) {
  const std::shared_ptr<const Kernel> kernel = find_kernel(p);
  REELM_CHECK(kernel != nullptr);
  const dnnl::engine& engine = cache().engine;
  thread_local dnnl::stream stream(engine);
  const std::size_t scratch_bytes = kernel->scratch.get_size();
  float* scratch = scratch_floats(Scratch::kDnnl, scratch_bytes / sizeof(float) + 16);
  const auto wrap = [&](const memory::desc& desc, const void* data) {
    return memory(desc, engine, const_cast<void*>(data));
  };
  std::unordered_map<int, memory> arguments = {
      {DNNL_ARG_SRC, wrap(kernel->a, p.a)},
      {DNNL_ARG_WEIGHTS, wrap(kernel->b, p.b)},
      {DNNL_ARG_DST, wrap(kernel->y, p.y)},
      {DNNL_ARG_SCRATCHPAD, wrap(kernel->scratch, scratch)},
  };
  if (p.epilogue.bias != nullptr) {
    arguments.emplace(DNNL_ARG_BIAS, wrap(kernel->bias, p.epilogue.bias));
  }
  try {
    kernel->matmul.execute(stream, arguments);
    stream.wait();
  } catch (const dnnl::error&) {  // the arguments are right: only memory can be missing
    throw std::bad_alloc();
  }
}

}  // namespace reelm::kernels
