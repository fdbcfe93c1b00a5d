// The model families: how encoder and decoder of each are made. Not installed.
#pragma once

#include <string>

#include "core/limits.h"
#include "core/model_files.h"
#include "layers/weight_reader.h"
#include "pipeline/model.h"

namespace reelm::pipeline {

/// A family and what messages and tables say of it (FamilyInfo).
struct Family {
  const char* model_type;
  const char* name;
  const char* takes;
  const char* checkpoints;
  /// Makes vision, decoder and what prompts need, of `model.files` and the weights. Throws Error as
  /// the family's config and weights do.
  void (*build)(Model& model, const layers::WeightReader& reader, const Limits& limits);
};

/// The family of a `model_type`. Throws Error{kUnsupported} naming config.json and listing those
/// that are known.
const Family& find_family(const ModelFiles& files, const std::string& model_type);

}  // namespace reelm::pipeline
