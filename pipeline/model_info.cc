#include "pipeline/model_info.h"

#include <algorithm>
#include <charconv>
#include <map>

#include "core/checked.h"
#include "core/checkpoint.h"
#include "core/json.h"
#include "core/timeline.h"
#include "pipeline/families.h"
#include "pipeline/model.h"
#include "pipeline/model_source.h"
#include "pipeline/packed_file.h"

namespace reelm::pipeline {

namespace {

void flatten(const Json& json, const std::string& prefix,
             std::vector<std::pair<std::string, std::string>>& out) {
  for (const auto& [key, value] : json.items()) {
    const std::string name = prefix.empty() ? key : prefix + "." + key;
    if (value.is_object()) {
      flatten(value, name, out);
    } else {
      out.emplace_back(name, value.dump(-1, ' ', false, Json::error_handler_t::replace));
    }
  }
}

/// A count of __metadata__; 0 when it is not one.
std::int64_t count(const SafetensorsFile& file, const char* key) {
  const std::string text = metadata_value(file, key);
  std::int64_t value = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = parsed.ec == std::errc() && parsed.ptr == text.data() + text.size();
  return whole && value > 0 ? value : 0;
}

void describe_converted(const SafetensorsFile& file, ModelInfo& info) {
  info.converted = {metadata_value(file, kKeyDtype), metadata_value(file, kKeyVisionDtype),
                    metadata_value(file, kKeyLayout)};
  info.parameters = count(file, kKeyParameters);
  info.vision_parameters = std::min(info.parameters, count(file, kKeyVisionParameters));
}

}  // namespace

ModelInfo describe_model(const std::filesystem::path& path, const Limits& limits,
                         const std::filesystem::path& mmproj) {
  const TimelineSpan span("describe", SpanKind::kStage);
  ModelInfo info;
  const ModelSource source = open_model_source(path, mmproj, limits);
  info.model_type = read_model_type(source.files, limits);
  info.supported = is_supported(source.files, info.model_type, limits);
  flatten(read_json_file(source.files, "config.json", limits), "", info.config);

  const auto opened = source.checkpoint(limits);
  const Checkpoint& checkpoint = *opened;
  std::map<std::string, std::int64_t> bytes;
  for (const StoredTensor& t : checkpoint.tensors()) {
    info.tensors.push_back({t.name, dtype_name(t.dtype), t.shape});
    bytes[dtype_name(t.dtype)] += static_cast<std::int64_t>(t.bytes.size());
  }
  for (const OtherTensor& t : checkpoint.other_tensors()) {
    info.tensors.push_back({t.name, t.dtype, t.shape});
    bytes[t.dtype] += t.n_bytes;
  }
  std::sort(info.tensors.begin(), info.tensors.end(),
            [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; });
  for (const TensorInfo& t : info.tensors) {
    const std::int64_t n = element_count(t.shape);
    info.parameters = checked_add(info.parameters, n, "parameters");
    if (t.name.find("visual.") != std::string::npos) info.vision_parameters += n;
  }
  if (checkpoint.files().size() == 1 && is_packed_file(checkpoint.files()[0])) {
    describe_converted(checkpoint.files()[0], info);
  }
  info.stored_bytes.assign(bytes.begin(), bytes.end());
  info.files = static_cast<std::int64_t>(checkpoint.paths().size());
  return info;
}

}  // namespace reelm::pipeline
