// Where libFuzzer comes in.
#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  reelm::fuzz::fuzz_one({data, size});
  return 0;
}
