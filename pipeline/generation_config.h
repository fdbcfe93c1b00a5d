// Defaults of generation that come with a model.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "../core/limits.h"
#include "../core/model_files.h"
#include "../llm/sampler.h"
#include "../llm/tokenizer.h"

namespace reelm::pipeline {

/// generation_config.json, in transformers' words and with its defaults where a key is missing.
struct GenerationConfig {
  llm::SamplingConfig sampling;
  std::vector<llm::TokenId> eos_token_id;  ///< one or several; generation stops at any
  std::optional<std::int64_t> max_new_tokens;
  std::string chat_format;  ///< of the first Qwen's models: "chatml" ends answers by its tokens too
};

/// Reads generation_config.json (optional), and eos_token_id of config.json
/// where the former does not say. Throws Error naming file and key, found and expected.
GenerationConfig load_generation_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::pipeline
