// What a model directory holds, without loading its weights.
#pragma once

#include <cstdint>
#include <filesystem>
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

struct ModelInfo {
  std::string model_type;
  bool supported = false;                                   ///< whether open_model takes it
  std::vector<std::pair<std::string, std::string>> config;  ///< config.json, flattened by dots
  std::vector<TensorInfo> tensors;                          ///< sorted by name
  std::int64_t parameters = 0;                              ///< elements of all tensors
  std::int64_t vision_parameters = 0;                       ///< of them in the vision tower
  std::vector<std::pair<std::string, std::int64_t>> stored_bytes;  ///< by dtype as stored
  std::int64_t files = 0;                                          ///< weight files
};

/// Reads config.json and the headers of the weights. Throws Error as open_model; a model_type that
/// is not supported is reported, not refused.
ModelInfo describe_model(const std::filesystem::path& model_dir, const Limits& limits = {});

}  // namespace reelm::pipeline
