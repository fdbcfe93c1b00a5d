#include "kernels/isa.h"

#include <cstdlib>

#include "core/error.h"
#include "kernels/convert.h"
#include "tests/kernels/kernel_sets.h"

namespace reelm::kernels {
namespace {

TEST(Isa, NamesAreThoseUsersType) {
  EXPECT_EQ(isa_name(Isa::kPortable), "portable");
  EXPECT_EQ(isa_name(Isa::kAvx2), "avx2");
  EXPECT_EQ(isa_name(Isa::kAvx512), "avx512");
  EXPECT_EQ(isa_name(Isa::kAvx512Bf16), "avx512bf16");
  EXPECT_EQ(isa_name(Isa::kAmx), "amx");
}

TEST(Isa, SupportedSetsRiseFromPortable) {
  const auto isas = supported_isas();
  ASSERT_FALSE(isas.empty());
  EXPECT_EQ(isas.front(), Isa::kPortable);
  for (std::size_t i = 1; i < isas.size(); ++i) EXPECT_LT(isas[i - 1], isas[i]);
}

#if defined(__x86_64__)
TEST(Isa, AgreesWithTheCompilersDetection) {
  __builtin_cpu_init();
  const Isa best = supported_isas().back();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") &&
                      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
                      __builtin_cpu_supports("avx512vl");
  const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
  EXPECT_EQ(best >= Isa::kAvx2, avx2);
  EXPECT_EQ(best >= Isa::kAvx512, avx512);
  EXPECT_EQ(best >= Isa::kAvx512Bf16, bf16);
}
#endif

TEST(Isa, UnsupportedSetIsAnErrorThatNamesIt) {
  for (const Isa isa : {Isa::kPortable, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (isa <= supported_isas().back()) {
      EXPECT_NO_THROW(set_active_isa(isa));
      EXPECT_EQ(active_isa(), isa);
      continue;
    }
    try {
      set_active_isa(isa);
      FAIL() << "no error for " << isa_name(isa);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::kUnsupported);
      EXPECT_NE(std::string(e.what()).find(isa_name(isa)), std::string::npos) << e.what();
    }
  }
  set_table_for_testing(nullptr);
}

// REELM_ISA is read once in a process, so each value gets a process of its own: the child prints
// what happened to standard error, which the death test matches.
void report_isa(const char* value) {
  ::setenv("REELM_ISA", value, 1);
  try {
    float x = 1.0f;
    bf16_t y;
    convert(&x, &y, 1);
    std::fprintf(stderr, "active %s ran %s\n", std::string(isa_name(active_isa())).c_str(),
                 std::string(isa_name(last_isa_run())).c_str());
  } catch (const Error& e) {
    std::fprintf(stderr, "error %d: %s\n", static_cast<int>(e.code()), e.what());
  }
  std::_Exit(0);
}

class IsaEnvironment : public ::testing::Test {
 protected:
  void SetUp() override { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(IsaEnvironment, ForcesASetThatThenRuns) {
  for (const Isa isa : supported_isas()) {
    const std::string name(isa_name(isa));
    EXPECT_EXIT(report_isa(name.c_str()), ::testing::ExitedWithCode(0),
                "active " + name + " ran " + name);
  }
}

TEST_F(IsaEnvironment, EmptyMeansTheBest) {
  const std::string name(isa_name(supported_isas().back()));
  EXPECT_EXIT(report_isa(""), ::testing::ExitedWithCode(0), "active " + name);
}

TEST_F(IsaEnvironment, UnknownSetIsAnErrorThatListsTheKnown) {
  EXPECT_EXIT(report_isa("sse9"), ::testing::ExitedWithCode(0),
              "error 0: REELM_ISA: unknown .*sse9.*portable, avx2, avx512, avx512bf16, amx");
}

TEST_F(IsaEnvironment, SetTheMachineLacksIsAnError) {
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmx}) {
    if (isa <= supported_isas().back()) continue;
    const std::string name(isa_name(isa));
    EXPECT_EXIT(report_isa(name.c_str()), ::testing::ExitedWithCode(0),
                "error 0: REELM_ISA: this machine lacks " + name);
  }
}

}  // namespace
}  // namespace reelm::kernels
