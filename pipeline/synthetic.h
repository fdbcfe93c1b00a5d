// Models of real sizes with made-up weights: to size up a machine before a download, and for tests.
// Not installed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "core/limits.h"
#include "llm/qwen2_vl/config.h"
#include "pipeline/model.h"
#include "vision/qwen2_5_vl/config.h"
#include "vision/qwen2_vl/config.h"

namespace reelm::pipeline {

/// The two halves of a model's config.json.
struct SyntheticSizes {
  llm::qwen2_vl::DecoderConfig decoder;
  std::variant<vision::qwen2_vl::VisionConfig, vision::qwen2_5_vl::VisionConfig> vision;
  bool has_vision = true;  ///< false: a text model, and `vision` says nothing
  std::string model_type = "qwen2_vl";

  /// What the towers of all families have.
  const vision::TowerSizes& tower() const {
    return std::visit([](const vision::TowerSizes& sizes) -> decltype(auto) { return (sizes); },
                      vision);
  }
};

/// Whether `name` is spelt "synthetic:...".
bool is_synthetic(std::string_view name) noexcept;

/// "synthetic:qwen2-vl-2b", ...
std::vector<std::string> synthetic_names();

/// The sizes of the published model of that name (-Instruct), or of one small enough for tests
/// ("synthetic:tiny...", a model of Qwen2-VL's kind where it says no other). Throws
/// Error{kInvalidArgument} naming the known ones.
SyntheticSizes synthetic_sizes(std::string_view name);

/// A model of those sizes. kAuto is kBF16. Its tokenizer knows single bytes and the special tokens;
/// nothing ends an answer. The packed weights are as large as real ones; what they are packed from
/// are overlapping windows of one random block as large as the largest tensor (the embeddings: 467
/// MB for 2B, 1.1 GB for 7B), so that no second copy of the model is ever needed. `seed` decides
/// every weight. Throws Error: kInvalidArgument (an unknown name), kOutOfMemory, with the numbers,
/// when weights and block do not fit into the memory available.
Model make_synthetic_model(std::string_view name, const ModelDtypes& dtypes = {},
                           std::uint64_t seed = 0);

}  // namespace reelm::pipeline
