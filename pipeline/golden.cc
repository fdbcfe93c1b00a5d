#include "pipeline/golden.h"

#include <charconv>
#include <cstring>

#include "core/throw.h"

namespace reelm::pipeline {

namespace {

constexpr const char* kFormatVersion = "1";
constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;

const StoredTensor& typed(const SafetensorsFile& file, const char* name, DType dtype) {
  const StoredTensor* tensor = file.find(name);
  if (tensor == nullptr) {
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' is missing from the golden",
                file.path().string(), name);
  }
  if (tensor->dtype != dtype) {
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' is {}, expected {}", file.path().string(),
                name, dtype_name(tensor->dtype), dtype_name(dtype));
  }
  return *tensor;
}

template <typename T>
std::vector<T> elements(const StoredTensor& tensor) {
  std::vector<T> out(tensor.bytes.size() / sizeof(T));
  if (!out.empty()) std::memcpy(out.data(), tensor.bytes.data(), tensor.bytes.size());
  return out;
}

template <typename T>
std::optional<T> optional_number(const Json& options, const char* key, const std::string& where) {
  if (!options.contains(key) || options[key].is_null()) return std::nullopt;
  if constexpr (std::is_same_v<T, double>)
    return json_number(options, key, where);
  else
    return static_cast<T>(json_int(options, key, where, 0, kMaxCount));
}

}  // namespace

Golden::Golden(const std::filesystem::path& path, const Limits& limits)
    : path_(path), file_(SafetensorsFile::open(path, limits)) {
  const auto& metadata = file_.metadata();
  const auto version = metadata.find("reelm_golden");
  if (version == metadata.end() || version->second != kFormatVersion) {
    throw_error(ErrorCode::kFormat,
                "{}: is not a golden: metadata 'reelm_golden' is {}, expected {}", path.string(),
                version == metadata.end() ? "missing" : version->second, kFormatVersion);
  }
  const std::string where = path.string() + ": media";
  const Json media = parse_json(text("media"), where, limits);
  if (!media.is_array()) throw_error(ErrorCode::kFormat, "{} is not a list", where);
  for (const Json& entry : media) {
    GoldenMedium medium;
    medium.path = path.parent_path() / json_string(entry, "path", where);
    if (entry.contains("frames_crc32") && entry["frames_crc32"].is_array()) {
      for (const Json& crc : entry["frames_crc32"]) {
        medium.frames_crc32.push_back(crc.is_number_unsigned() ? crc.get<std::uint32_t>() : 0);
      }
    }
    media_.push_back(std::move(medium));
  }
}

const std::string& Golden::text(const char* key) const {
  const auto it = file_.metadata().find(key);
  if (it == file_.metadata().end()) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is missing from the golden", path_.string(),
                key);
  }
  return it->second;
}

std::int64_t Golden::integer(const char* key) const {
  const std::string& value = text(key);
  std::int64_t out = 0;
  const auto parsed = std::from_chars(value.data(), value.data() + value.size(), out);
  if (parsed.ec != std::errc() || parsed.ptr != value.data() + value.size()) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is '{}', expected an integer",
                path_.string(), key, value);
  }
  return out;
}

std::int64_t Golden::row_stride(const char* tensor) const {
  const std::string key = std::string(tensor) + "_row_stride";
  const std::int64_t stride = integer(key.c_str());
  if (stride < 1) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}, expected 1 or more", path_.string(),
                key, stride);
  }
  return stride;
}

std::vector<float> Golden::floats(const char* tensor) const {
  return elements<float>(typed(file_, tensor, DType::kF32));
}

std::vector<std::int64_t> Golden::integers(const char* tensor) const {
  return elements<std::int64_t>(typed(file_, tensor, DType::kI64));
}

std::int64_t Golden::columns(const char* tensor) const {
  const StoredTensor* found = file_.find(tensor);
  return found == nullptr || found->shape.empty() ? 0 : found->shape.back();
}

std::int64_t Golden::rows(const char* tensor) const {
  const StoredTensor* found = file_.find(tensor);
  return found == nullptr || found->shape.empty() ? 0 : found->shape.front();
}

std::filesystem::path Golden::model_directory() const {
  const auto it = file_.metadata().find("model_path");
  if (it == file_.metadata().end()) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: the golden names no model directory ('{}'): use --model", path_.string(),
                text("model"));
  }
  return path_.parent_path() / it->second;
}

Request Golden::request(const std::vector<std::filesystem::path>& media) const {
  const std::string where = path_.string() + ": options";
  const Json options = parse_json(text("options"), where);
  if (!options.is_object()) throw_error(ErrorCode::kFormat, "{} is not an object", where);
  std::vector<preprocess::MediaSource> sources;
  for (std::size_t i = 0; i < media_.size(); ++i) {
    sources.push_back(
        preprocess::MediaSource::from_path(i < media.size() ? media[i] : media_[i].path));
  }
  std::string system;
  if (options.contains("system") && options["system"].is_string()) {
    system = options["system"].get<std::string>();
  }
  Request request = Request::question(sources, text("question"), system);
  preprocess::SamplingOptions& s = request.sampling;
  s.fps = optional_number<double>(options, "fps", where);
  s.frames = optional_number<std::int64_t>(options, "frames", where);
  s.min_frames = optional_number<std::int64_t>(options, "min_frames", where);
  s.max_frames = optional_number<std::int64_t>(options, "max_frames", where);
  s.min_pixels = optional_number<std::int64_t>(options, "min_pixels", where);
  s.max_pixels = optional_number<std::int64_t>(options, "max_pixels", where);
  s.from = optional_number<double>(options, "from", where);
  s.to = optional_number<double>(options, "to", where);
  s.reference =
      text("reference") == "hf" ? preprocess::Reference::kHf : preprocess::Reference::kQwenVlUtils;
  const auto rule = file_.metadata().find("position_rule");
  if (rule != file_.metadata().end() && rule->second == "installed") {
    request.position_rule = llm::PositionRule::kInstalled;
  }
  request.generation.temperature = 0.0;
  request.generation.repetition_penalty = 1.0;
  request.generation.max_new_tokens = integer("max_new_tokens");
  return request;
}

}  // namespace reelm::pipeline
