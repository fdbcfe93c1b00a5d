#include "tests/support/random_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>

namespace reelm::test {
namespace {

using Json = nlohmann::ordered_json;  // a spec's order is the order in the files
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error(fmt::format("{}: cannot be read", path.string()));
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.flush()) throw std::runtime_error(fmt::format("{}: cannot be written", path.string()));
}

/// The low `bytes` bytes of `value`, little-endian.
void append_little_endian(std::string& out, std::uint64_t value, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(value >> (8 * i) & 0xFF);
}

std::uint64_t element_count(const Json& tensor) {
  std::uint64_t count = 1;
  for (const auto& size : tensor["shape"]) count *= size.get<std::uint64_t>();
  return count;
}

int item_size(const std::string& dtype) {
  if (dtype == "F32") return 4;
  if (dtype == "F16" || dtype == "BF16") return 2;
  throw std::runtime_error(fmt::format("dtype {}: unknown", dtype));
}

/// The safetensors header: its length, the JSON, padding.
std::string header(const Json& tensors, const std::string& dtype) {
  Json entries = {{"__metadata__", {{"format", "pt"}}}};
  std::uint64_t at = 0;
  for (const auto& tensor : tensors) {
    const std::uint64_t end = at + element_count(tensor) * item_size(dtype);
    entries[tensor["name"].get<std::string>()] = {
        {"dtype", dtype}, {"shape", tensor["shape"]}, {"data_offsets", {at, end}}};
    at = end;
  }
  std::string text = entries.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  std::string out;
  append_little_endian(out, text.size(), 8);
  return out + text;
}

std::string weight_file(const Json& spec, const Json& tensors) {
  const auto dtype = spec["dtype"].get<std::string>();
  std::string out = header(tensors, dtype);
  for (const auto& tensor : tensors) {
    const auto name = tensor["name"].get<std::string>();
    const std::uint64_t seed =
        fnv1a64(fmt::format("{}/{}", spec["seed"].get<std::uint64_t>(), name));
    const int gain = tensor["gain"], bias = tensor["bias"];
    const std::uint64_t count = element_count(tensor);
    for (std::uint64_t i = 0; i < count; ++i) {
      const float x = random_weight(seed, i, gain, bias);
      if (dtype == "F32") {
        append_little_endian(out, std::bit_cast<std::uint32_t>(x), 4);
      } else {
        append_little_endian(out, dtype == "F16" ? to_f16(x) : to_bf16(x), 2);
      }
    }
  }
  return out;
}

void write_weights(const fs::path& dir, const Json& spec) {
  Json weight_map = Json::object();
  std::uint64_t total = 0;
  for (const auto& weights : spec["weights"]) {
    const auto name = weights["file"].get<std::string>();
    const std::string bytes = weight_file(spec, weights["tensors"]);
    const std::string checksum = fmt::format("{:016x}", fnv1a64(bytes));
    if (bytes.size() != weights["bytes"].get<std::uint64_t>() || checksum != weights["fnv1a64"]) {
      throw std::runtime_error(fmt::format(
          "{}: {} has {} bytes and checksum {}, not {} and {}: C++ and Python differ",
          spec["name"].get<std::string>(), name, bytes.size(), checksum,
          weights["bytes"].get<std::uint64_t>(), weights["fnv1a64"].get<std::string>()));
    }
    write_file(dir / name, bytes);
    for (const auto& tensor : weights["tensors"]) {
      weight_map[tensor["name"].get<std::string>()] = name;
      total += element_count(tensor) * item_size(spec["dtype"]);
    }
  }
  if (spec["weights"].size() > 1) {
    const Json index = {{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}};
    write_file(dir / "model.safetensors.index.json", index.dump(2));
  }
}

/// The demo's tokenizer, as one file or as the two files of the original Qwen2-VL; or the ranks of
/// the goldens of tiktoken, or the SentencePiece models of those of ChatGLM.
void write_tokenizer(const fs::path& dir, const Json& spec) {
  const std::pair<const char*, const char*> whole[] = {{"qwen.tiktoken", "tiktoken"},
                                                       {"tokenizer.model", "chatglm2"},
                                                       {"ice_text.model", "chatglm"}};
  for (const auto& [file, folder] : whole) {
    if (spec["tokenizer"] != file) continue;
    return write_file(dir / file, read_file(goldens_dir() / folder / file));
  }
  const std::string text = read_file(fs::path(REELM_SOURCE_DIR) / "models/demo/tokenizer.json");
  if (spec["tokenizer"] == "tokenizer.json") return write_file(dir / "tokenizer.json", text);
  const Json model = Json::parse(text)["model"];
  write_file(dir / "vocab.json", model["vocab"].dump(2));
  std::string merges = "#version: 0.2\n";
  for (const auto& merge : model["merges"]) {
    merges += merge.is_string() ? merge.get<std::string>()
                                : merge[0].get<std::string>() + " " + merge[1].get<std::string>();
    merges += '\n';
  }
  write_file(dir / "merges.txt", merges);
}

/// What a spec holds but the tokenizer.
void write_files(const fs::path& dir, const Json& spec) {
  fs::create_directories(dir);
  write_weights(dir, spec);
  for (const auto& [file, document] : spec["files"].items()) {
    write_file(dir / file, document.is_string() ? document.get<std::string>() : document.dump(2));
  }
}

Json read_spec(const char* folder, const std::string& name) {
  return Json::parse(read_file(goldens_dir() / folder / (name + ".json")));
}

}  // namespace

fs::path goldens_dir() { return fs::path(REELM_SOURCE_DIR) / "tests/goldens"; }

std::vector<std::string> random_model_names() {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(goldens_dir() / "models")) {
    if (entry.path().extension() == ".json") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::uint64_t fnv1a64(std::string_view bytes) {
  std::uint64_t hash = 0xCBF29CE484222325U;
  for (const char byte : bytes) {
    hash = (hash ^ static_cast<unsigned char>(byte)) * 0x100000001B3U;
  }
  return hash;
}

float random_weight(std::uint64_t tensor_seed, std::uint64_t index, int gain, int bias) {
  std::uint64_t z = tensor_seed + (index + 1) * 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBU;
  z = z ^ (z >> 31);
  const int r = static_cast<int>(z >> 48) - 32768;
  const int numerator = r * gain + bias * (1 << 22);
  return static_cast<float>(numerator) * 0x1p-22F;  // exact: at most 24 bits
}

std::uint16_t to_f16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const auto sign = static_cast<std::uint16_t>(bits >> 16 & 0x8000U);
  const std::uint32_t magnitude = bits & 0x7FFFFFFFU;
  if (magnitude < 0x38800000U) {  // below 2^-14: a half's subnormals are multiples of 2^-24
    return static_cast<std::uint16_t>(sign | std::lrint(std::fabs(x) * 0x1p24F));
  }
  const std::uint32_t rebased = magnitude - (112U << 23);  // exponent bias 127 to 15
  return static_cast<std::uint16_t>(sign | ((rebased + 0xFFFU + (rebased >> 13 & 1U)) >> 13));
}

std::uint16_t to_bf16(float x) {
  const auto bits = std::bit_cast<std::uint32_t>(x);
  return static_cast<std::uint16_t>((bits + 0x7FFFU + (bits >> 16 & 1U)) >> 16);
}

void write_random_model(const fs::path& dir, const std::string& name) {
  const Json spec = read_spec("models", name);
  write_files(dir, spec);
  write_tokenizer(dir, spec);
}

void write_random_adapter(const fs::path& dir, const std::string& name) {
  write_files(dir, read_spec("lora", name));
}

}  // namespace reelm::test
