#include "llm/chatglm2/version.h"

#include <algorithm>

#include "core/json.h"

namespace reelm::llm::chatglm2 {

namespace {

constexpr const char* kTokenizerConfig = "tokenizer_config.json";

bool names_chatglm3(const Json& root, const char* key) {
  if (!root.is_object() || !root.contains(key) || !root[key].is_string()) return false;
  std::string name = root[key].get<std::string>();
  std::transform(name.begin(), name.end(), name.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  return name.find("chatglm3") != name.npos;
}

/// Whether a string anywhere in the value spells a role token.
bool has_role_tokens(const Json& value) {
  if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    return text.find("<|user|>") != text.npos || text.find("<|assistant|>") != text.npos;
  }
  return value.is_structured() && std::any_of(value.begin(), value.end(), has_role_tokens);
}

}  // namespace

std::optional<Version> find_version(const ModelFiles& files, const Limits& limits) {
  if (!files.has("config.json")) return std::nullopt;
  const Json config = read_json_file(files, "config.json", limits);
  if (!config.is_object() || config.value("model_type", Json()) != "chatglm" ||
      !config.contains(kConfigKey)) {
    return std::nullopt;
  }
  bool third = names_chatglm3(config, "_name_or_path");
  if (files.has(kTokenizerConfig)) {
    const Json tokenizer = read_json_file(files, kTokenizerConfig, limits);
    third = third || names_chatglm3(tokenizer, "name_or_path") || has_role_tokens(tokenizer);
  }
  return third ? Version::kChatGlm3 : Version::kChatGlm2;
}

std::vector<std::string> special_tokens(Version version) {
  std::vector<std::string> out = {"[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"};
  if (version == Version::kChatGlm3) {
    out.insert(out.end(), {"<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"});
  }
  return out;
}

}  // namespace reelm::llm::chatglm2
