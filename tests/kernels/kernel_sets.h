// What every kernel test runs over: the instruction sets of this machine, and AVX-512 and AMX
// emulated on any x86 machine that can run AVX2.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/dispatch.h"
#include "kernels/isa.h"

namespace reelm::kernels {

const KernelTable& avx512_emulated_table();
const KernelTable& avx512bf16_emulated_table();
const KernelTable& amx_emulated_table();

/// One way to run kernels.
struct KernelSet {
  std::string name;
  Isa isa;
  const KernelTable* emulated;  // null: the machine's own
};

inline void PrintTo(const KernelSet& set, std::ostream* out) { *out << set.name; }

inline std::vector<KernelSet> all_sets() {
  std::vector<KernelSet> sets;
  for (const Isa isa : supported_isas()) sets.push_back({std::string(isa_name(isa)), isa, nullptr});
#if defined(__x86_64__)
  if (sets.back().isa >= Isa::kAvx2) {
    sets.push_back({"avx512_emulated", Isa::kAvx512, &avx512_emulated_table()});
    sets.push_back({"avx512bf16_emulated", Isa::kAvx512Bf16, &avx512bf16_emulated_table()});
    sets.push_back({"amx_emulated", Isa::kAmx, &amx_emulated_table()});
  }
#endif
  return sets;
}

/// Runs each test with one set, and proves that this set ran.
class KernelTest : public ::testing::TestWithParam<KernelSet> {
 protected:
  void SetUp() override {
    if (GetParam().emulated != nullptr) {
      set_table_for_testing(GetParam().emulated);
    } else {
      set_active_isa(GetParam().isa);
    }
    ASSERT_EQ(active_isa(), GetParam().isa);
  }
  void TearDown() override {
    EXPECT_EQ(last_isa_run(), GetParam().isa);
    set_table_for_testing(nullptr);
  }
  /// Floats in a register of the set.
  int width() const { return use_table().width; }
  /// 0, 1, around the width and odd: where vector loops go wrong.
  std::vector<std::int64_t> lengths() const {
    const std::int64_t w = width();
    return {0, 1, w - 1, w, w + 1, 2 * w + 3, 37, 80, 129};
  }
};

inline std::string set_name(const ::testing::TestParamInfo<KernelSet>& set) {
  return set.param.name;
}

#define REELM_KERNEL_TEST_SUITE(suite) \
  INSTANTIATE_TEST_SUITE_P(, suite, ::testing::ValuesIn(all_sets()), set_name)

/// n floats in [-range, range], the same for the same seed.
inline std::vector<float> random_floats(std::int64_t n, unsigned seed, float range = 1.0f) {
  std::mt19937 engine(seed);
  std::vector<float> out(static_cast<std::size_t>(n));
  for (float& v : out) {
    v = (static_cast<float>(engine() >> 8) / 8388608.0f - 1.0f) * range;
  }
  return out;
}

}  // namespace reelm::kernels
