// `reelm convert`: a model directory whose weights are packed ahead.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/limits.h"
#include "model.h"

namespace reelm::pipeline {

/// How a model is converted.
struct ConvertOptions {
  ModelDtypes dtypes = {};
  Adapters adapters = {};  ///< merged into the weights
  /// Replace a model that is in the output directory: all files that convert_model writes, and
  /// those of model_side_files() that the input does not have. Others stay.
  bool force = false;
  std::filesystem::path mmproj = {};  ///< as in OpenOptions
  Limits limits = {};
  const CancelToken* cancel = nullptr;
  /// Called with "packing" (0 of 0), then "writing" with bytes done and in all.
  std::function<void(const char* step, std::int64_t done, std::int64_t total)> on_progress =
      nullptr;
};

struct ConvertReport {
  ModelDtypes dtypes;               ///< never kAuto
  std::vector<std::string> copied;  ///< names of the small files
  std::int64_t bytes_before = 0;    ///< of all weight files
  std::int64_t bytes_after = 0;
};

/// Names of the files beside the weights that are copied: config, tokenizer, processors, generation
/// settings, licence.
std::vector<std::string> model_side_files();

/// Packs the weights of the model `in` and writes them, with what else it needs to be opened, to
/// the directory `out`: its parent must exist, it must not, or be empty, or `force`.
/// model.safetensors holds the packed weights and the other tensors that are read (norms, biases,
/// embeddings) as they were stored. What was there before stays as it was until all of the new is
/// written; a failure leaves nothing behind. Memory: the packed weights. Throws Error as
/// open_model, and kInvalidArgument (`in` was converted before; `out` is in `in`; `out` is in use),
/// kIo.
ConvertReport convert_model(const std::filesystem::path& in, const std::filesystem::path& out,
                            const ConvertOptions& options = {});

}  // namespace reelm::pipeline
