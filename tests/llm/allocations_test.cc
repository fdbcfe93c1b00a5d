// A decode step allocates nothing. Its own program, because it stands in front of malloc; not built
// with sanitizers, which do so themselves.
#include <gtest/gtest.h>
#include <malloc.h>

#include <atomic>
#include <cstddef>

#include "core/parallel.h"
#include "kernels/tuner.h"
#include "tests/llm/demo_decoder.h"

namespace {
std::atomic<long> g_allocations{0};
}  // namespace

// What glibc's own functions are called underneath.
extern "C" {
void* __libc_malloc(std::size_t size);
void* __libc_calloc(std::size_t n, std::size_t size);
void* __libc_realloc(void* p, std::size_t size);
void* __libc_memalign(std::size_t alignment, std::size_t size);

void* malloc(std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_malloc(size);
}
void* calloc(std::size_t n, std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_calloc(n, size);
}
void* realloc(void* p, std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_realloc(p, size);
}
void* memalign(std::size_t alignment, std::size_t size) {
  g_allocations.fetch_add(1, std::memory_order_relaxed);
  return __libc_memalign(alignment, size);
}
void* aligned_alloc(std::size_t alignment, std::size_t size) { return memalign(alignment, size); }
}

namespace reelm::llm::qwen2 {
namespace {

class Allocations : public ::testing::TestWithParam<kernels::ComputeType> {};

TEST_P(Allocations, ADecodeStepMakesNone) {
  set_num_threads(2);
  const auto decoder = demo_decoder(GetParam());
  KvCache cache(decoder->kv_shape(), decoder->kv_type(), 64);
  AlignedBuffer<float> storage(static_cast<std::size_t>(decoder->vocab_size()));
  const TensorView<float> logits(storage.data(), {decoder->vocab_size()});
  for (std::int64_t i = 0; i < 4; ++i) decoder->step(5, i, cache, logits);  // warms up
  const long before = g_allocations.load();
  for (std::int64_t i = 4; i < 40; ++i) decoder->step(7, i, cache, logits);
  const long after = g_allocations.load();
  set_num_threads(0);
  EXPECT_EQ(after - before, 0);
  EXPECT_GT(before, 100);  // they are counted at all
}

TEST_P(Allocations, AStepThatAsksATunerMakesNone) {
  set_num_threads(2);
  kernels::Tuner tuner({.rounds = 2, .everything = true, .now_ms = {}});
  kernels::set_tuner(&tuner);
  const auto decoder = demo_decoder(GetParam());
  KvCache cache(decoder->kv_shape(), decoder->kv_type(), 64);
  AlignedBuffer<float> storage(static_cast<std::size_t>(decoder->vocab_size()));
  const TensorView<float> logits(storage.data(), {decoder->vocab_size()});
  for (std::int64_t i = 0; i < 4; ++i) decoder->step(5, i, cache, logits);  // warms up, measures
  const std::size_t known = tuner.entries().size();
  const long before = g_allocations.load();
  for (std::int64_t i = 4; i < 40; ++i) decoder->step(7, i, cache, logits);
  const long after = g_allocations.load();
  kernels::set_tuner(nullptr);
  set_num_threads(0);
  EXPECT_EQ(after - before, 0);
  EXPECT_GE(known, 4u);  // attention, and products of several shapes
  EXPECT_EQ(tuner.entries().size(), known);
}

TEST_P(Allocations, ABatchedStepMakesNone) {
  set_num_threads(2);
  const auto decoder = demo_decoder(GetParam());
  KvCache first(decoder->kv_shape(), decoder->kv_type(), 64);
  KvCache second(decoder->kv_shape(), decoder->kv_type(), 64);
  AlignedBuffer<float> storage(static_cast<std::size_t>(2 * decoder->vocab_size()));
  const TensorView<float> logits(storage.data(), {2, decoder->vocab_size()});
  const auto steps = [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const BatchRow rows[] = {{5, i, &first}, {7, i, &second}};
      decoder->step_batch(rows, logits);
    }
  };
  steps(0, 4);  // warms up
  const long before = g_allocations.load();
  steps(4, 40);
  const long after = g_allocations.load();
  set_num_threads(0);
  EXPECT_EQ(after - before, 0);
}

INSTANTIATE_TEST_SUITE_P(, Allocations,
                         ::testing::Values(kernels::ComputeType::kF32, kernels::ComputeType::kBF16,
                                           kernels::ComputeType::kInt8, kernels::ComputeType::kInt4,
                                           kernels::ComputeType::kQ8_0,
                                           kernels::ComputeType::kQ4_0),
                         [](const auto& instance) {
                           return kernels::compute_type_name(instance.param);
                         });

}  // namespace
}  // namespace reelm::llm::qwen2
