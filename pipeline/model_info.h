// What a model directory holds, without loading its weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "../core/limits.h"

namespace reelm::pipeline {

struct TensorInfo {
  std::string name;
  std::string dtype;  ///< as stored: "BF16", ...
  std::vector<std::int64_t> shape;
};

/// What reelm convert wrote down.
struct ConvertedInfo {
  std::string dtype;  ///< of the decoder: "int4", ...
  std::string vision_dtype;
  std::string layout_version;  ///< kernels::kPackedLayoutVersion of the build that wrote it
};

struct ModelInfo {
  std::string model_type;
  bool supported = false;                                   ///< whether open_model takes it
  std::vector<std::pair<std::string, std::string>> config;  ///< config.json, flattened by dots
  std::vector<TensorInfo> tensors;                          ///< sorted by name
  /// Elements of all tensors; of a converted model, of those it was made from.
  std::int64_t parameters = 0;
  std::int64_t vision_parameters = 0;                              ///< of them in the vision tower
  std::vector<std::pair<std::string, std::int64_t>> stored_bytes;  ///< by dtype as stored
  std::int64_t files = 0;                                          ///< weight files
  std::optional<ConvertedInfo> converted;
};

/// Reads config.json and the headers of the weights; `path` and `mmproj` as in open_model_source.
/// Throws Error as open_model; a model_type that is not supported is reported, not refused.
ModelInfo describe_model(const std::filesystem::path& path, const Limits& limits = {},
                         const std::filesystem::path& mmproj = {});

}  // namespace reelm::pipeline
