#include "core/checkpoint.h"

#include <set>
#include <utility>

#include "core/json.h"
#include "core/throw.h"

namespace reelm {

namespace {

bool has(const std::filesystem::path& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

/// Says why there are no weights reelm can open.
[[noreturn]] void throw_no_weights(const std::filesystem::path& model_dir) {
  std::error_code error;
  std::set<std::string> others;
  for (const auto& entry : std::filesystem::directory_iterator(model_dir, error)) {
    const std::string extension = entry.path().extension().string();
    if (extension == ".gguf" || extension == ".bin" || extension == ".pt" || extension == ".pth") {
      others.insert(entry.path().filename().string());
    }
  }
  if (error) {
    throw_error(ErrorCode::kNotFound, "{}: {}", model_dir.string(), error.message());
  }
  if (others.empty()) {
    throw_error(ErrorCode::kNotFound,
                "{}: no weights: looked for model.safetensors and model.safetensors.index.json",
                model_dir.string());
  }
  if (others.begin()->ends_with(".gguf")) {
    throw_error(
        ErrorCode::kUnsupported,
        "{}: the weights are only there as {}, which is a whole model: name that file instead "
        "of the directory",
        model_dir.string(), *others.begin());
  }
  throw_error(
      ErrorCode::kUnsupported,
      "{}: the weights are only there as {}; reelm reads safetensors (a pickle can run code "
      "when it is opened). Convert them with transformers: "
      "AutoModelForImageTextToText.from_pretrained(dir).save_pretrained(out)",
      model_dir.string(), *others.begin());
}

/// tensor name -> file name, from the index; names that leave the directory are refused.
std::map<std::string, std::string> read_weight_map(const std::filesystem::path& path,
                                                   const Limits& limits) {
  const Json index = read_json_file_unique(path, limits);
  const auto it = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || it == index.end() || !it->is_object() || it->empty()) {
    throw_error(ErrorCode::kFormat, "{}: 'weight_map' is not an object with tensors",
                path.string());
  }
  if (static_cast<std::int64_t>(it->size()) > limits.tensor_count) {
    throw_error(ErrorCode::kLimit, "{}: {} tensors, over the limit tensor-count ({})",
                path.string(), it->size(), limits.tensor_count);
  }
  std::map<std::string, std::string> out;
  for (const auto& [name, value] : it->get_ref<const Json::object_t&>()) {
    const std::string shard = value.is_string() ? value.get<std::string>() : std::string();
    if (!shard.ends_with(".safetensors") || shard.find_first_of("/\\") != std::string::npos ||
        shard.find('\0') != std::string::npos || shard.starts_with(".")) {
      throw_error(ErrorCode::kFormat,
                  "{}: tensor '{}' is said to be in {}, expected the name of a .safetensors file "
                  "in the same directory",
                  path.string(), name,
                  value.dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 100));
    }
    out.emplace(name, shard);
  }
  return out;
}

}  // namespace

Checkpoint Checkpoint::open(const std::filesystem::path& model_dir, const Limits& limits) {
  const auto single = model_dir / "model.safetensors";
  const auto index = model_dir / "model.safetensors.index.json";
  Checkpoint out;
  out.model_dir_ = model_dir;
  // Of several shards, only what the index names counts.
  std::map<std::string, std::string> weight_map;
  if (has(single)) {
    out.files_.push_back(SafetensorsFile::open(single, limits));
  } else if (has(index)) {
    weight_map = read_weight_map(index, limits);
    std::set<std::string> shards;
    for (const auto& [name, shard] : weight_map) shards.insert(shard);
    for (const std::string& shard : shards) {
      out.files_.push_back(SafetensorsFile::open(model_dir / shard, limits));
    }
  } else {
    throw_no_weights(model_dir);
  }
  for (const SafetensorsFile& file : out.files_) out.paths_.push_back(file.path());
  const auto add = [&](auto& all, const auto& tensor, std::size_t file, std::int64_t n_bytes) {
    if (!weight_map.empty()) {
      const auto it = weight_map.find(tensor.name);
      if (it == weight_map.end() || it->second != out.paths_[file].filename()) return;
    }
    all.push_back(tensor);
    out.file_index_[tensor.name] = file;
    out.total_bytes_ += n_bytes;
  };
  for (std::size_t file = 0; file < out.files_.size(); ++file) {
    for (const StoredTensor& tensor : out.files_[file].tensors()) {
      add(out.tensors_, tensor, file, static_cast<std::int64_t>(tensor.bytes.size()));
    }
    for (const OtherTensor& tensor : out.files_[file].other_tensors()) {
      add(out.others_, tensor, file, tensor.n_bytes);
    }
  }
  for (const auto& [name, shard] : weight_map) {
    if (out.file_index_.count(name) != 0) continue;
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' should be in {}, but is not there",
                index.string(), name, shard);
  }
  sort_by_name(out.tensors_);
  sort_by_name(out.others_);
  return out;
}

Checkpoint Checkpoint::from_tensors(std::vector<StoredTensor> tensors,
                                    std::shared_ptr<const void> owner, const std::string& name) {
  Checkpoint out;
  out.model_dir_ = name;
  out.owner_ = std::move(owner);
  out.tensors_ = std::move(tensors);
  for (const StoredTensor& tensor : out.tensors_) {
    std::size_t expected = dtype_size(tensor.dtype);
    bool fits = !is_quantized(tensor.dtype);
    for (const std::int64_t size : tensor.shape) {
      fits = fits && size >= 0 &&
             !__builtin_mul_overflow(expected, static_cast<std::size_t>(size), &expected);
    }
    if (!fits || expected != tensor.bytes.size()) {
      throw_error(ErrorCode::kInvalidArgument, "{}: tensor '{}' is {} {}, but has {} bytes", name,
                  tensor.name, reelm::dtype_name(tensor.dtype), shape_string(tensor.shape),
                  tensor.bytes.size());
    }
    // No file has an index as high as this, so that messages name the checkpoint instead.
    constexpr std::size_t kNoFile = static_cast<std::size_t>(-1);
    if (tensor.name.empty() || !out.file_index_.emplace(tensor.name, kNoFile).second) {
      throw_error(ErrorCode::kInvalidArgument, "{}: the tensor name '{}' is {}", name, tensor.name,
                  tensor.name.empty() ? "empty" : "there twice");
    }
    out.total_bytes_ += static_cast<std::int64_t>(tensor.bytes.size());
  }
  sort_by_name(out.tensors_);
  return out;
}

Checkpoint Checkpoint::from_gguf(std::vector<GgufFile> files, std::vector<Renamed> tensors,
                                 std::shared_ptr<const void> owner) {
  Checkpoint out;
  out.owner_ = std::move(owner);
  for (const GgufFile& file : files) out.paths_.push_back(file.path());
  out.gguf_files_ = std::move(files);
  out.model_dir_ = out.paths_.at(0);
  for (Renamed& renamed : tensors) {
    StoredTensor& tensor = renamed.tensor;
    if (!out.file_index_.emplace(tensor.name, renamed.file).second) {
      throw_error(ErrorCode::kFormat, "{}: there are two tensors '{}'",
                  out.paths_.at(renamed.file).string(), tensor.name);
    }
    out.total_bytes_ += std::ssize(tensor.bytes);
    out.tensors_.push_back(std::move(tensor));
  }
  sort_by_name(out.tensors_);
  return out;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> out;
  for (const auto& [name, file] : file_index_) out.push_back(name);
  return out;
}

const StoredTensor* Checkpoint::find(std::string_view name) const {
  return find_tensor(tensors_, others_, name, file_of(name));
}

const StoredTensor& Checkpoint::get(std::string_view name,
                                    std::span<const std::int64_t> shape) const {
  return check_tensor(find(name), name, shape, file_of(name));
}

std::string Checkpoint::file_of(std::string_view name) const {
  const auto it = file_index_.find(name);
  return it == file_index_.end() || it->second >= paths_.size() ? model_dir_.string()
                                                                : paths_[it->second].string();
}

}  // namespace reelm
