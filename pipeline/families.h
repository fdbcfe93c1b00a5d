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
  /// A key that its config.json has, where families share a model_type; null: any.
  const char* config_key;
  const char* name;
  const char* takes;
  const char* checkpoints;
  /// Makes vision, decoder and what prompts need, of `model.files` and the weights. Throws Error as
  /// the family's config and weights do.
  void (*build)(Model& model, const layers::WeightReader& reader, const Limits& limits);
};

/// The family of a model: of its `model_type`, and of the keys in its config.json where several
/// have that. Throws Error{kUnsupported} naming config.json and listing those that are known, or
/// the keys that were expected; as read_json_file.
const Family& find_family(const ModelFiles& files, const std::string& model_type,
                          const Limits& limits = {});

/// Whether find_family finds one.
bool is_supported(const ModelFiles& files, const std::string& model_type,
                  const Limits& limits = {});

}  // namespace reelm::pipeline
