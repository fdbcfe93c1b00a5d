// A random model as GGUF files, for the tests of the command line.
// usage: make_gguf_model NAME DIR   (prints nothing; see tests/support/gguf_model.h)
#include <cstdio>
#include <exception>

#include "tests/support/gguf_model.h"

int main(int argc, char** argv) try {
  if (argc != 3) {
    std::fprintf(stderr, "usage: make_gguf_model NAME DIR\n");
    return 2;
  }
  (void)reelm::test::write_gguf_model(argv[2], argv[1], {.type = reelm::DType::kQ8_0});
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "make_gguf_model: %s\n", error.what());
  return 1;
}
