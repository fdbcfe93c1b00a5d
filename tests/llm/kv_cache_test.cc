#include "llm/kv_cache.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "core/error.h"

namespace reelm::llm {
namespace {

const KvCache::Shape kShape = {2, 3, 4};  // layers, heads, head_dim

/// [n, 3, 4] counting up from `first`.
std::vector<float> rows(std::int64_t n, float first) {
  std::vector<float> out(static_cast<std::size_t>(n * 12));
  std::iota(out.begin(), out.end(), first);
  return out;
}

TEST(KvCache, ReadsBackWhatWasWrittenInPlace) {
  KvCache cache(kShape, KvType::kF32, 5);
  const std::vector<float> k0 = rows(2, 0), v0 = rows(2, 100), k1 = rows(1, 200), v1 = rows(1, 300);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    cache.write(layer, {k0.data(), {2, 3, 4}}, {v0.data(), {2, 3, 4}});
  }
  cache.advance(2);
  const float* place = cache.keys_f32(1, 2).data();
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    cache.write(layer, {k1.data(), {1, 3, 4}}, {v1.data(), {1, 3, 4}});
  }
  cache.advance(1);
  EXPECT_EQ(cache.length(), 3);
  const TensorView<const float> keys = cache.keys_f32(1, 3);
  const TensorView<const float> values = cache.values_f32(1, 3);
  EXPECT_EQ(keys.data(), place);  // nothing moved
  for (std::int64_t i = 0; i < 3; ++i) {
    for (std::int64_t h = 0; h < 3; ++h) {
      for (std::int64_t d = 0; d < 4; ++d) {
        const float expected =
            i < 2 ? static_cast<float>(i * 12 + h * 4 + d) : static_cast<float>(200 + h * 4 + d);
        EXPECT_EQ(keys.row(i)[h * keys.stride(1) + d], expected);
        EXPECT_EQ(values.row(i)[h * values.stride(1) + d], expected + 100);
      }
    }
  }
}

TEST(KvCache, Bf16Rounds) {
  KvCache cache(kShape, KvType::kBF16, 1);
  std::vector<float> k = rows(1, 0);
  k[5] = 1.0f + 0x1p-9f;  // a tie: to even, 1
  cache.write(0, {k.data(), {1, 3, 4}}, {k.data(), {1, 3, 4}});
  const TensorView<const bf16_t> keys = cache.keys_bf16(0, 1);
  EXPECT_EQ(to_float(keys.row(0)[keys.stride(1) + 1]), 1.0f);
  EXPECT_EQ(to_float(keys.row(0)[2 * keys.stride(1) + 3]), 11.0f);
}

TEST(KvCache, Int8KeepsAScaleForEveryRowOfAHead) {
  KvCache cache(kShape, KvType::kInt8, 7);
  const std::vector<float> k0 = rows(2, 0), v0 = rows(2, -50), k1 = rows(1, 200), v1 = rows(1, -9);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    cache.write(layer, {k0.data(), {2, 3, 4}}, {v0.data(), {2, 3, 4}});
  }
  cache.advance(2);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    cache.write(layer, {k1.data(), {1, 3, 4}}, {v1.data(), {1, 3, 4}});
  }
  cache.advance(1);
  for (std::int64_t layer = 0; layer < 2; ++layer) {
    for (std::int64_t i = 0; i < 3; ++i) {
      for (std::int64_t h = 0; h < 3; ++h) {
        for (const bool key : {true, false}) {
          const kernels::Int8Heads x =
              key ? cache.keys_int8(layer, 3) : cache.values_int8(layer, 3);
          const float first = key ? (i < 2 ? 0.0f : 200.0f) : (i < 2 ? -50.0f : -9.0f);
          const float scale = x.scales.row(i)[h * x.scales.stride(1)];
          for (std::int64_t d = 0; d < 4; ++d) {
            const float expected = first + static_cast<float>((i < 2 ? i : 0) * 12 + h * 4 + d);
            EXPECT_NEAR(x.values.row(i)[h * x.values.stride(1) + d] * scale, expected,
                        scale * 0.51f);
          }
        }
      }
    }
  }
  EXPECT_EQ(cache.size_bytes(), 7u * 2 * 2 * 3 * (4 + 4));
}

TEST(KvCache, TypesHaveNames) {
  for (const KvType type : {KvType::kF32, KvType::kBF16, KvType::kInt8}) {
    EXPECT_EQ(parse_kv_type(kv_type_name(type)), type);
  }
  EXPECT_EQ(parse_kv_type("auto"), std::nullopt);
  EXPECT_THROW((void)parse_kv_type("int4"), Error);
}

TEST(KvCache, AFullCacheIsAnError) {
  KvCache cache(kShape, KvType::kF32, 2);
  const std::vector<float> k = rows(3, 0);
  EXPECT_THROW(cache.write(0, {k.data(), {3, 3, 4}}, {k.data(), {3, 3, 4}}), Error);
  cache.write(0, {k.data(), {2, 3, 4}}, {k.data(), {2, 3, 4}});
  cache.advance(2);
  EXPECT_THROW(cache.write(0, {k.data(), {1, 3, 4}}, {k.data(), {1, 3, 4}}), Error);
  cache.truncate(1);
  EXPECT_NO_THROW(cache.write(0, {k.data(), {1, 3, 4}}, {k.data(), {1, 3, 4}}));
}

TEST(KvCache, SizesAreChecked) {
  EXPECT_EQ(kShape.bytes_per_position(KvType::kF32), 2 * 3 * 4 * 2 * 4);
  EXPECT_EQ(kShape.bytes_per_position(KvType::kBF16), 2 * 3 * 4 * 2 * 2);
  EXPECT_EQ(kShape.bytes_per_position(KvType::kInt8), 2 * 3 * (4 + 4) * 2);
  EXPECT_EQ((KvCache::Shape{28, 2, 128}).bytes_per_position(KvType::kInt8), 28 * 2 * 2 * 132);
  const KvCache::Shape huge = {std::int64_t{1} << 40, std::int64_t{1} << 20, 128};
  EXPECT_THROW((void)huge.bytes_per_position(KvType::kF32), Error);
  EXPECT_THROW((void)huge.bytes_per_position(KvType::kInt8), Error);
  EXPECT_THROW(KvCache(kShape, KvType::kInt8, std::int64_t{1} << 57), Error);
  EXPECT_THROW(KvCache(kShape, KvType::kF32, std::int64_t{1} << 60), Error);
}

}  // namespace
}  // namespace reelm::llm
