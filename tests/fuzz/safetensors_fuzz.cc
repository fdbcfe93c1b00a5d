// A safetensors file; an input that begins with '{' is also the index of a sharded checkpoint.
// Holds: what was accepted lies inside the file, all of it can be read, and is found by its name.
#include <numeric>

#include "core/checkpoint.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {
namespace {

Limits strict_limits() {
  Limits limits;
  limits.json_bytes = 1 << 18;
  limits.json_depth = 16;
  limits.tensor_count = 1000;
  return limits;
}

/// Reads every byte: out of bounds is the sanitizer's, or a SIGBUS.
void read(const StoredTensor& tensor) {
  std::size_t n = dtype_size(tensor.dtype);
  for (const std::int64_t size : tensor.shape) n *= static_cast<std::size_t>(size);
  REELM_CHECK(n == tensor.bytes.size());
  const auto sum = [](unsigned s, std::byte b) { return s + static_cast<unsigned>(b); };
  [[maybe_unused]] const volatile unsigned total =
      std::accumulate(tensor.bytes.begin(), tensor.bytes.end(), 0u, sum);
}

void open_file(const std::filesystem::path& path) {
  const SafetensorsFile file = SafetensorsFile::open(path, strict_limits());
  REELM_CHECK(file.total_bytes() >= 0);
  for (const StoredTensor& tensor : file.tensors()) {
    read(tensor);
    REELM_CHECK(file.find(tensor.name) == &tensor);
  }
  for (const OtherTensor& other : file.other_tensors()) {
    REELM_CHECK(other.n_bytes >= 0);
    succeeds([&] { file.find(other.name); });
  }
}

void open_sharded(Bytes index) {
  static const Directory directory;
  static const bool prepared = [] {
    const float values[] = {1, 2, 3};
    const StoredTensor tensors[] = {
        {"a", DType::kF32, {3}, std::as_bytes(std::span(values))},
        {"b", DType::kU8, {2, 2}, std::as_bytes(std::span(values)).first(4)}};
    write_safetensors(directory.path() / "one.safetensors", std::span(tensors).first(1));
    write_safetensors(directory.path() / "two.safetensors", std::span(tensors).last(1));
    return true;
  }();
  REELM_CHECK(prepared);
  write_file(directory.path() / "model.safetensors.index.json", index);
  succeeds([&] {
    const Checkpoint checkpoint = Checkpoint::open(directory.path(), strict_limits());
    for (const StoredTensor& tensor : checkpoint.tensors()) read(tensor);
    REELM_CHECK(checkpoint.names().size() <= 2);
  });
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Directory directory;
  const auto path = directory.path() / "model.safetensors";
  write_file(path, input);
  succeeds([&] { open_file(path); });
  if (!input.empty() && input[0] == '{') open_sharded(input);
}

}  // namespace reelm::fuzz
