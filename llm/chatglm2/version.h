// Which generation of ChatGLM a model with multi-query attention is: both have one model_type.
// Not installed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/limits.h"
#include "core/model_files.h"

namespace reelm::llm::chatglm2 {

enum class Version { kChatGlm2, kChatGlm3 };

/// A key of config.json that ChatGLM-6B, of the same model_type, does not have.
inline constexpr const char* kConfigKey = "multi_query_group_num";

/// The version of a model, or nothing where config.json is missing or not that of one of them.
/// ChatGLM3 is a model whose tokenizer_config.json has role tokens (`<|user|>`, in its chat
/// template or among its added tokens), or whose settings name it ("chatglm3" in `_name_or_path` of
/// config.json or `name_or_path` of tokenizer_config.json). Throws Error{kFormat}, {kLimit} naming
/// a file that cannot be read as such.
std::optional<Version> find_version(const ModelFiles& files, const Limits& limits = {});

/// The special tokens whose ids follow the pieces of tokenizer.model. Source: SPTokenizer of
/// tokenization_chatglm.py of THUDM/chatglm2-6b and THUDM/chatglm3-6b.
std::vector<std::string> special_tokens(Version version);

}  // namespace reelm::llm::chatglm2
