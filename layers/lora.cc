#include "layers/lora.h"

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/json.h"
#include "core/throw.h"
#include "layers/weight_reader.h"

namespace reelm::layers {

namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kMostRank = 1 << 16;
// Rows of a weight that are updated at a time: their sums stay in the cache.
constexpr std::int64_t kRows = 256;

bool remove_prefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool remove_suffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

/// "layers.0.mlp.up_proj" of "base_model.model.model.language_model.layers.0.mlp.up_proj" and of
/// what else versions of PEFT and transformers call it.
std::string common_name(std::string_view module) {
  remove_prefix(module, "base_model.model.");
  while (remove_prefix(module, "model.") || remove_prefix(module, "language_model.")) {
  }
  return std::string(module);
}

std::string common_name_of_weight(std::string_view name) {
  remove_suffix(name, ".weight");
  return common_name(name);
}

bool is_set(const Json& config, const char* key) {
  const auto found = config.find(key);
  if (found == config.end() || found->is_null()) return false;
  if (found->is_boolean()) return found->get<bool>();
  return !((found->is_array() || found->is_object()) && found->empty());
}

/// What adapter_config.json says of the updates' sizes.
struct Config {
  double alpha = 0.0;
  bool root = false;                                // divided by sqrt(r) instead of r
  std::vector<std::pair<std::string, double>> own;  // alpha of modules that end in a name

  double alpha_of(std::string_view module) const {
    for (const auto& [name, value] : own) {
      std::string_view before = module;
      if (remove_suffix(before, name) && (before.empty() || before.ends_with('.'))) return value;
    }
    return alpha;
  }
};

Config read_config(const fs::path& path, const Limits& limits) {
  const Json json = read_json_file(path, limits);
  const std::string where = path.string();
  const std::string type = json_string(json, "peft_type", where);
  if (type != "LORA") {
    throw_error(ErrorCode::kUnsupported, "{}: peft_type is '{}', expected 'LORA'", where, type);
  }
  for (const char* key :
       {"use_dora", "fan_in_fan_out", "lora_bias", "use_qalora", "modules_to_save",
        "layer_replication", "trainable_token_indices", "target_parameters",
        "alora_invocation_tokens", "use_bdlora", "kasa_config", "velora_config"}) {
    if (is_set(json, key)) {
      throw_error(ErrorCode::kUnsupported, "{}: '{}' is set: only plain LoRA is supported", where,
                  key);
    }
  }
  const std::string bias = json_string_or(json, "bias", where, "none");
  if (bias != "none") {
    throw_error(ErrorCode::kUnsupported, "{}: bias is '{}', expected 'none'", where, bias);
  }
  Config out;
  out.alpha = json_number(json, "lora_alpha", where);
  out.root = json_bool_or(json, "use_rslora", where, false);
  if (is_set(json, "alpha_pattern")) {
    const std::string patterns = where + ": alpha_pattern";
    for (const auto& [name, value] : json["alpha_pattern"].items()) {
      if (name.find_first_of("^$*+?()[]{}|\\") != name.npos) {
        throw_error(ErrorCode::kUnsupported, "{}: '{}' is a regular expression, expected a name",
                    patterns, name);
      }
      out.own.emplace_back(name, json_number(json["alpha_pattern"], name, patterns));
    }
  }
  return out;
}

}  // namespace

LoraAdapter LoraAdapter::open(const fs::path& directory, double scale, const Limits& limits) {
  if (!std::isfinite(scale)) {
    throw_error(ErrorCode::kInvalidArgument, "{}: the scale is {}, expected a finite number",
                directory.string(), scale);
  }
  const Config config = read_config(directory / "adapter_config.json", limits);
  const fs::path path = directory / "adapter_model.safetensors";
  std::error_code ec;
  if (!fs::exists(path, ec) && fs::exists(directory / "adapter_model.bin", ec)) {
    throw_error(ErrorCode::kUnsupported,
                "{}: is a pickle, which may run code and is not read; save the adapter with "
                "save_pretrained(..., safe_serialization=True)",
                (directory / "adapter_model.bin").string());
  }
  LoraAdapter out;
  out.file_ = std::make_shared<const SafetensorsFile>(SafetensorsFile::open(path, limits));
  for (const StoredTensor& tensor : out.file_->tensors()) {
    std::string_view module = tensor.name;
    const bool is_a = remove_suffix(module, ".lora_A.weight");
    if (!is_a && !remove_suffix(module, ".lora_B.weight")) {
      throw_error(ErrorCode::kUnsupported,
                  "{}: tensor '{}': expected only names that end in .lora_A.weight and "
                  ".lora_B.weight",
                  out.describe(), tensor.name);
    }
    if (tensor.shape.size() != 2) {
      throw_error(ErrorCode::kFormat, "{}: tensor '{}' is {}, expected two sizes", out.describe(),
                  tensor.name, shape_string(tensor.shape));
    }
    Update& update = out.updates_[common_name(module)];
    if (!update.module.empty() && update.module != module) {
      throw_error(ErrorCode::kFormat, "{}: '{}' and '{}' update the same weight", out.describe(),
                  update.module, module);
    }
    update.module = module;
    (is_a ? update.a : update.b) = &tensor;
  }
  if (!out.file_->other_tensors().empty()) {
    const OtherTensor& other = out.file_->other_tensors().front();
    throw_error(ErrorCode::kUnsupported, "{}: tensor '{}' is {}, expected F32, F16 or BF16",
                out.describe(), other.name, other.dtype);
  }
  if (out.updates_.empty()) {
    throw_error(ErrorCode::kFormat, "{}: has no tensors", out.describe());
  }
  for (auto& [name, update] : out.updates_) {
    if (update.a == nullptr || update.b == nullptr) {
      throw_error(ErrorCode::kNotFound, "{}: '{}' has no {}.weight", out.describe(), update.module,
                  update.a == nullptr ? "lora_A" : "lora_B");
    }
    const std::int64_t rank = update.a->shape[0];
    if (rank < 1 || rank > kMostRank) {
      throw_error(ErrorCode::kLimit, "{}: '{}' has rank {}, expected 1 to {}", out.describe(),
                  update.module, rank, kMostRank);
    }
    const auto r = static_cast<double>(rank);
    update.scale = static_cast<float>(scale * config.alpha_of(update.module) /
                                      (config.root ? std::sqrt(r) : r));
  }
  return out;
}

bool LoraAdapter::updates(const std::string& weight_name) const {
  return updates_.contains(common_name_of_weight(weight_name));
}

void LoraAdapter::check_leaves(const std::string& weight_name) const {
  if (!updates(weight_name)) return;
  throw_error(ErrorCode::kUnsupported, "{}: updates '{}': only linear layers are supported",
              describe(), weight_name);
}

void LoraAdapter::add_to(float* weights, const std::string& weight_name, std::int64_t out_features,
                         std::int64_t in_features) const {
  const Update& update = updates_.at(common_name_of_weight(weight_name));
  const std::int64_t rank = update.a->shape[0];
  const auto stored = [&](const StoredTensor& tensor, std::int64_t rows, std::int64_t cols) {
    const StoredTensor& found = file_->get(tensor.name, {rows, cols});
    return kernels::StoredMatrix{found.bytes.data(), found.dtype, rows, cols};
  };
  const kernels::StoredMatrix a = stored(*update.a, rank, in_features);
  const kernels::StoredMatrix b = stored(*update.b, out_features, rank);
  update.used = true;

  // Products want weights [out_features, in_features]: here A, transposed.
  AlignedBuffer<float> row(static_cast<std::size_t>(in_features));
  AlignedBuffer<float> transposed(static_cast<std::size_t>(in_features * rank));
  for (std::int64_t r = 0; r < rank; ++r) {
    copy_elements(a, r * in_features, in_features, row.data());
    for (std::int64_t i = 0; i < in_features; ++i) {
      transposed[static_cast<std::size_t>(i * rank + r)] = row[static_cast<std::size_t>(i)];
    }
  }
  const kernels::PackedMatrix packed({transposed.data(), DType::kF32, in_features, rank},
                                     kernels::ComputeType::kF32);
  AlignedBuffer<float> scaled(static_cast<std::size_t>(kRows * rank));
  for (std::int64_t first = 0; first < out_features; first += kRows) {
    const std::int64_t rows = std::min(kRows, out_features - first);
    copy_elements(b, first * rank, rows * rank, scaled.data());
    std::for_each_n(scaled.data(), rows * rank, [&](float& x) { x *= update.scale; });
    kernels::matmul({scaled.data(), {rows, rank}}, packed,
                    {weights + first * in_features, {rows, in_features}}, {.accumulate = true});
  }
}

void LoraAdapter::check_all_used() const {
  for (const auto& [name, update] : updates_) {
    if (update.used) continue;
    throw_error(ErrorCode::kFormat,
                "{}: updates '{}', which this model does not have as a linear layer of its own",
                describe(), update.module);
  }
}

AlignedBuffer<float> merge_adapters(const std::vector<LoraAdapter>& adapters,
                                    const std::string& weight_name,
                                    const kernels::StoredMatrix& stored) {
  AlignedBuffer<float> out;
  for (const LoraAdapter& adapter : adapters) {
    if (!adapter.updates(weight_name)) continue;
    if (out.size() == 0) {
      out = AlignedBuffer<float>(static_cast<std::size_t>(stored.rows * stored.cols));
      copy_elements(stored, 0, stored.rows * stored.cols, out.data());
    }
    adapter.add_to(out.data(), weight_name, stored.rows, stored.cols);
  }
  return out;
}

}  // namespace reelm::layers
