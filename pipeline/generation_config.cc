#include "pipeline/generation_config.h"

#include "core/json.h"
#include "core/throw.h"

namespace reelm::pipeline {

namespace {

constexpr std::int64_t kMaxTokenId = INT32_MAX;

/// An id or a list of ids; empty when the key is missing or null.
std::vector<llm::TokenId> token_ids(const Json& object, const char* key, const std::string& where) {
  std::vector<llm::TokenId> out;
  if (!object.is_object() || !object.contains(key) || object[key].is_null()) return out;
  const Json& value = object[key];
  const Json list = value.is_array() ? value : Json::array({value});
  for (const Json& item : list) {
    if (!item.is_number_unsigned() || item.get<std::uint64_t>() > kMaxTokenId) {
      throw_error(ErrorCode::kFormat, "{}: '{}' must be a token id or a list of them", where, key);
    }
    out.push_back(item.get<llm::TokenId>());
  }
  return out;
}

}  // namespace

GenerationConfig load_generation_config(const ModelFiles& files, const Limits& limits) {
  constexpr const char* kName = "generation_config.json";
  GenerationConfig out;
  if (files.has(kName)) {
    const Json json = read_json_file(files, kName, limits);
    const std::string where = files.where(kName);
    if (!json.is_object()) {
      throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", where, json.type_name());
    }
    llm::SamplingConfig& s = out.sampling;
    s.do_sample = json_bool_or(json, "do_sample", where, s.do_sample);
    s.temperature = json_number_or(json, "temperature", where, s.temperature);
    s.top_k = json_int_or(json, "top_k", where, 0, INT32_MAX, s.top_k);
    s.top_p = json_number_or(json, "top_p", where, s.top_p);
    s.repetition_penalty = json_number_or(json, "repetition_penalty", where, s.repetition_penalty);
    out.eos_token_id = token_ids(json, "eos_token_id", where);
    out.chat_format = json_string_or(json, "chat_format", where, "");
    if (json.contains("max_new_tokens") && !json["max_new_tokens"].is_null()) {
      out.max_new_tokens = json_int(json, "max_new_tokens", where, 1, INT32_MAX);
    }
    try {
      llm::validate(s);
    } catch (const Error& e) {
      throw_error(ErrorCode::kFormat, "{}: {}", where, e.what());
    }
  }
  if (out.eos_token_id.empty()) {
    const std::string where = files.where("config.json");
    const Json config = read_json_file(files, "config.json", limits);
    out.eos_token_id = token_ids(config, "eos_token_id", where);
    if (out.eos_token_id.empty() && config.is_object() && config.contains("text_config")) {
      out.eos_token_id = token_ids(config["text_config"], "eos_token_id", where + ": text_config");
    }
  }
  return out;
}

}  // namespace reelm::pipeline
