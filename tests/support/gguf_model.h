// GGUF files made of the random models (random_model.h), as llama.cpp's converter would.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/checkpoint.h"
#include "core/dtype.h"

namespace reelm::test {

struct GgufModelOptions {
  /// Of the decoder's matrices whose rows are whole blocks: Q8_0, Q4_0, or kU8 for the type they
  /// are stored in, which the others keep.
  DType type = DType::kU8;
  /// The same of matrices whose Hugging Face names hold a text; the first that does counts.
  std::vector<std::pair<std::string, DType>> others = {};
  /// Names of the tower's MLP as the old converter wrote them.
  bool swapped_mlp = false;
};

struct GgufModelPaths {
  std::filesystem::path model;    ///< DIR/model.gguf
  std::filesystem::path mmproj;   ///< DIR/mmproj.gguf; empty for text models
  std::filesystem::path as_made;  ///< DIR/hf: the random model, in the Hugging Face layout
  /// DIR/floats: the same with its matrices in F32, as they are after quantising; only with a type
  std::filesystem::path floats;
};

/// Names of the specs in tests/goldens/models whose families are read from GGUF, sorted.
std::vector<std::string> gguf_model_names();

/// Makes the model of the spec `name` in `dir`, in both layouts.
GgufModelPaths write_gguf_model(const std::filesystem::path& dir, const std::string& name,
                                const GgufModelOptions& options = {});

/// Writes `path`, a GGUF file of the tensors of `from` under the names they have: matrices whose
/// rows are whole blocks as `type` (Q8_0 or Q4_0), others as they are stored, those of more sizes
/// not at all. The checkpoint views the file.
Checkpoint write_gguf_blocks(const std::filesystem::path& path, const Checkpoint& from, DType type);

}  // namespace reelm::test
