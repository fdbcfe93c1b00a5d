// Runs a target without libFuzzer: fuzz_NAME FILE-OR-FOLDER...
//                                  fuzz_NAME --random COUNT [SEED]
// What a target minds aborts the program, so its last line names the file, or the random input.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <random>
#include <vector>

#include "tests/fuzz/fuzz.h"

namespace {

namespace fs = std::filesystem;

void add_files(const fs::path& path, std::vector<fs::path>& files) {
  if (!fs::is_directory(path)) {
    files.push_back(path);
    return;
  }
  for (const auto& entry : fs::recursive_directory_iterator(path)) {
    if (entry.is_regular_file()) files.push_back(entry.path());
  }
}

bool replay(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes((std::istreambuf_iterator<char>(file)), {});
  if (!file) {
    std::fprintf(stderr, "%s: cannot be read\n", path.c_str());
    return false;
  }
  std::printf("%s (%zu bytes)\n", path.c_str(), bytes.size());
  std::fflush(stdout);
  reelm::fuzz::fuzz_one({reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()});
  return true;
}

/// Inputs of random bytes: enough for targets whose inputs are choices and numbers.
void run_random(unsigned count, unsigned seed) {
  constexpr std::size_t kMostBytes = 400;
  for (unsigned i = 0; i < count; ++i) {
    std::printf("random input %u of seed %u\n", i, seed);
    std::fflush(stdout);
    std::seed_seq numbers{seed, i};
    std::mt19937 engine(numbers);
    std::vector<std::uint8_t> bytes(engine() % kMostBytes);
    for (auto& byte : bytes) byte = static_cast<std::uint8_t>(engine());
    reelm::fuzz::fuzz_one(bytes);
  }
}

unsigned number(const char* text) { return static_cast<unsigned>(std::strtoul(text, nullptr, 10)); }

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::string_view(argv[1]) == "--random") {
    run_random(number(argv[2]), argc > 3 ? number(argv[3]) : 1);
    return 0;
  }
  std::vector<fs::path> files;
  for (int i = 1; i < argc; ++i) add_files(argv[i], files);
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "usage: %s FILE-OR-FOLDER... | --random COUNT [SEED]\n", argv[0]);
    return 2;
  }
  reelm::fuzz::fuzz_one({});
  return std::all_of(files.begin(), files.end(), replay) ? 0 : 1;
}
