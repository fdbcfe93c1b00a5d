// What a model is opened from: a directory, or GGUF files.
#pragma once

#include <filesystem>
#include <memory>

#include "../core/checkpoint.h"
#include "../core/limits.h"
#include "../core/model_files.h"

namespace reelm::pipeline {

/// The small files of a model, and of GGUF files the weights, which are mapped then.
struct ModelSource {
  ModelFiles files;
  std::shared_ptr<const Checkpoint> gguf;  ///< null: `files` is a directory with weights

  /// The weights; a directory's are mapped now. Throws Error as Checkpoint::open.
  std::shared_ptr<const Checkpoint> checkpoint(const Limits& limits) const;
};

/// Whether the file begins as a GGUF file does; false for whatever cannot be read.
bool is_gguf_file(const std::filesystem::path& path);

/// `model` is a model directory in the Hugging Face layout (whose files are not read yet), a GGUF
/// file, or a directory without config.json that holds one. A tower is looked for in `mmproj` where
/// that is not empty, else in the only file "*mmproj*.gguf" beside the model's. Throws Error naming
/// what is wrong: kInvalidArgument (`mmproj` with a directory, or with a family that takes text
/// only; several files to choose from), kNotFound (no tower), kFormat, kUnsupported (another
/// architecture, projector, tokenizer or type of tensor; one part of several), kLimit.
ModelSource open_model_source(const std::filesystem::path& model,
                              const std::filesystem::path& mmproj, const Limits& limits);

}  // namespace reelm::pipeline
