// Sizes of published models by name, and of some that are small enough for tests. Not installed.
#pragma once

#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "llm/chatglm/config.h"
#include "llm/qwen2_vl/config.h"
#include "vision/qwen2_5_vl/config.h"
#include "vision/qwen2_vl/config.h"
#include "vision/qwen3_vl/config.h"

namespace reelm::pipeline {

/// The two halves of a model's config.json.
struct SyntheticSizes {
  llm::qwen2_vl::DecoderConfig decoder;
  std::variant<vision::qwen2_vl::VisionConfig, vision::qwen2_5_vl::VisionConfig,
               vision::qwen3_vl::VisionConfig>
      vision;
  bool has_vision = true;  ///< false: a text model, and `vision` says nothing
  std::string model_type = "qwen2_vl";
  /// Whose decoder it is: "qwen2", "qwen", "qwen3_vl", "chatglm" or "chatglm2", a row of
  /// kDecoderKinds (synthetic.cc). Of "chatglm" inner_hidden_size is the intermediate_size.
  std::string decoder_kind = "qwen2";
  bool slice_timestamps = false;  ///< Model::slice_timestamps

  /// What the towers of all families have.
  const vision::TowerSizes& tower() const {
    return std::visit([](const vision::TowerSizes& sizes) -> decltype(auto) { return (sizes); },
                      vision);
  }
};

/// The sizes of a model of the first ChatGLM in those words.
SyntheticSizes sizes_of_chatglm(const llm::chatglm::DecoderConfig& config);

/// Whether `name` is spelt "synthetic:...".
bool is_synthetic(std::string_view name) noexcept;

/// "synthetic:qwen2-vl-2b", ...
std::vector<std::string> synthetic_names();

/// The sizes of the published model of that name (-Instruct), or of one small enough for tests
/// ("synthetic:tiny...", a model of Qwen2-VL's kind where it says no other). Throws
/// Error{kInvalidArgument} naming the known ones.
SyntheticSizes synthetic_sizes(std::string_view name);

}  // namespace reelm::pipeline
