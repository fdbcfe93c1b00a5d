// A GGUF file.
// Holds: what was accepted lies inside the file, shares no byte with another tensor, all of it can
// be read, and is found by its name; metadata can be asked for as anything.
#include <numeric>

#include "core/gguf.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {
namespace {

Limits strict_limits() {
  Limits limits;
  limits.json_bytes = 1 << 18;
  limits.tensor_count = 1000;
  return limits;
}

/// Reads every byte: out of bounds is the sanitizer's, or a SIGBUS.
void read(std::span<const std::byte> bytes) {
  const auto sum = [](unsigned s, std::byte b) { return s + static_cast<unsigned>(b); };
  [[maybe_unused]] const volatile unsigned total =
      std::accumulate(bytes.begin(), bytes.end(), 0u, sum);
}

void ask(const GgufFile& file, const std::string& key) {
  succeeds([&] { (void)file.integer(key, -1000, 1000); });
  succeeds([&] { (void)file.number(key); });
  succeeds([&] { (void)file.flag(key); });
  succeeds([&] { (void)file.string(key); });
  succeeds([&] { (void)file.strings(key); });
  succeeds([&] { (void)file.integers(key, INT64_MIN, INT64_MAX); });
  succeeds([&] { (void)file.numbers(key); });
}

void open_file(const std::filesystem::path& path) {
  const GgufFile file = GgufFile::open(path, strict_limits());
  std::int64_t n_bytes = 0;
  for (const StoredTensor& tensor : file.tensors()) {
    REELM_CHECK(dtype_bytes(tensor.dtype, element_count(tensor.shape)) == std::ssize(tensor.bytes));
    read(tensor.bytes);
    REELM_CHECK(file.find(tensor.name) == &tensor);
    n_bytes += std::ssize(tensor.bytes);
  }
  for (const OtherTensor& other : file.other_tensors()) {
    REELM_CHECK(!succeeds([&] { file.find(other.name); }));
    n_bytes += other.n_bytes;
  }
  REELM_CHECK(n_bytes == file.total_bytes() &&
              n_bytes <= static_cast<std::int64_t>(std::filesystem::file_size(path)));
  for (const auto& [key, value] : file.metadata()) {
    read(value.numbers);
    for (const std::string_view s : value.strings) read(std::as_bytes(std::span(s)));
    ask(file, key);
  }
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Directory directory;
  const auto path = directory.path() / "model.gguf";
  write_file(path, input);
  succeeds([&] { open_file(path); });
}

}  // namespace reelm::fuzz
