// Model directories for tests, made from the small specs in tests/goldens/models: no Python, no
// large files. tools/random_weights.py is the same in Python, and defines the numbers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace reelm::test {

/// tests/goldens in the source tree.
std::filesystem::path goldens_dir();

/// Names of the specs in tests/goldens/models, sorted.
std::vector<std::string> random_model_names();

/// Writes config, processors, tokenizer and weights of the spec `name` into `dir` (made when it is
/// not there). Weights have the checksums that the spec holds. Throws std::runtime_error otherwise,
/// and when the spec or models/demo/tokenizer.json cannot be read.
void write_random_model(const std::filesystem::path& dir, const std::string& name);

/// Writes the LoRA adapter of the spec tests/goldens/lora/`name`.json into `dir`; as
/// write_random_model().
void write_random_adapter(const std::filesystem::path& dir, const std::string& name);

/// FNV-1a, 64 bits.
std::uint64_t fnv1a64(std::string_view bytes);

/// One element of a random tensor, before it is rounded to the weight file's dtype. `tensor_seed`
/// is fnv1a64("<seed>/<tensor name>"), `gain` 0..127, `bias` 0 or 1.
float random_weight(std::uint64_t tensor_seed, std::uint64_t index, int gain, int bias);

/// IEEE half and bfloat16, rounded to nearest even. |x| < 65520 for half.
std::uint16_t to_f16(float x);
std::uint16_t to_bf16(float x);

}  // namespace reelm::test
