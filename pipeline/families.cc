#include "pipeline/families.h"

#include <fmt/ranges.h>

#include <algorithm>

#include "core/json.h"
#include "core/throw.h"
#include "llm/chatglm/decoder.h"
#include "llm/chatglm2/decoder.h"
#include "llm/chatglm2/version.h"
#include "llm/qwen/decoder.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen2_5_vl/config.h"
#include "llm/qwen2_vl/config.h"
#include "llm/qwen3_vl/decoder.h"
#include "pipeline/chat_template.h"
#include "pipeline/prompt_format.h"
#include "vision/qwen2_5_vl/encoder.h"
#include "vision/qwen2_vl/encoder.h"
#include "vision/qwen3_vl/encoder.h"

namespace reelm::pipeline {

namespace {

/// `key` is what the family calls the width of the tower's output.
void check_vision_width(const Model& model, const char* key, std::int64_t found,
                        std::int64_t expected) {
  if (found == expected) return;
  throw_error(ErrorCode::kFormat,
              "{}: vision_config.{} is {}, expected the decoder's hidden_size {}",
              model.files.where("config.json"), key, found, expected);
}

void build_qwen2_vl(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto decoder = llm::qwen2_vl::load_decoder_config(model.files, limits);
  const auto vision = vision::qwen2_vl::load_vision_config(model.files, limits);
  check_vision_width(model, "hidden_size", vision.hidden_size, decoder.hidden_size);
  model.tokens.placeholders = decoder.vision_tokens;
  model.vision = vision::qwen2_vl::make_encoder(vision, reader, compute_type(model.dtypes.vision));
  model.decoder = llm::qwen2::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

void build_qwen2_5_vl(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto [decoder, tokens_per_second] = llm::qwen2_5_vl::load_config(model.files, limits);
  const auto vision = vision::qwen2_5_vl::load_vision_config(model.files, limits);
  check_vision_width(model, "out_hidden_size", vision.hidden_size, decoder.hidden_size);
  model.tokens.placeholders = decoder.vision_tokens;
  model.tokens_per_second = tokens_per_second;
  model.vision =
      vision::qwen2_5_vl::make_encoder(vision, reader, compute_type(model.dtypes.vision));
  model.decoder = llm::qwen2::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

void build_qwen3_vl(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  auto decoder = llm::qwen3_vl::load_decoder_config(model.files, limits);
  const auto vision = vision::qwen3_vl::load_vision_config(model.files, limits);
  check_vision_width(model, "out_hidden_size", vision.hidden_size, decoder.hidden_size);
  decoder.deepstack_layers = std::ssize(vision.deepstack_visual_indexes);
  if (decoder.deepstack_layers > decoder.num_hidden_layers) {
    throw_error(
        ErrorCode::kFormat,
        "{}: vision_config.deepstack_visual_indexes has {} blocks, expected at most as many "
        "as the decoder has layers, {}",
        model.files.where("config.json"), decoder.deepstack_layers, decoder.num_hidden_layers);
  }
  model.tokens.placeholders = decoder.vision_tokens;
  model.slice_timestamps = true;
  model.default_system = load_default_system(model.files, limits);
  model.vision = vision::qwen3_vl::make_encoder(vision, reader, compute_type(model.dtypes.vision));
  model.decoder = llm::qwen3_vl::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

void build_qwen2(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto decoder = llm::qwen2::load_decoder_config(model.files, limits);
  model.default_system = load_default_system(model.files, limits).value_or(kDefaultSystemPrompt);
  model.decoder = llm::qwen2::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

void build_qwen(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto decoder = llm::qwen::load_decoder_config(model.files, limits);
  model.tokens.header_apart = true;
  model.decoder = llm::qwen::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

/// The config's id is the one the decoder goes by; the tokenizer's must be the same.
void check_token(const Model& model, const char* key, llm::TokenId id, const char* content) {
  const llm::TokenId found = required_token(model, content);
  if (id == found) return;
  throw_error(ErrorCode::kFormat, "{}: {} is {} in config.json, but '{}' is {} in the tokenizer",
              model.directory.string(), key, id, content, found);
}

void build_chatglm(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto decoder = llm::chatglm::load_decoder_config(model.files, limits);
  check_token(model, "bos_token_id", decoder.bos_token_id, "<sop>");
  check_token(model, "gmask_token_id", decoder.gmask_token_id, "[gMASK]");
  model.prompt_format = &chatglm_format();
  model.decoder = llm::chatglm::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

void build_chatglm2(Model& model, const layers::WeightReader& reader, const Limits& limits) {
  const auto decoder = llm::chatglm2::load_decoder_config(model.files, limits);
  const auto version = llm::chatglm2::find_version(model.files, limits);
  model.prompt_format =
      version == llm::chatglm2::Version::kChatGlm3 ? &chatglm3_format() : &chatglm2_format();
  model.decoder = llm::chatglm2::make_decoder(decoder, reader, compute_type(model.dtypes.decoder));
}

// Adding a family adds a row. Of those that share a model_type, one with a key comes before one
// without.
constexpr Family kFamilies[] = {
    {"chatglm", llm::chatglm2::kConfigKey, "ChatGLM2, ChatGLM3", "text",
     "ChatGLM2-6B, ChatGLM2-6B-32K, ChatGLM3-6B, ChatGLM3-6B-32K", build_chatglm2},
    {"chatglm", nullptr, "ChatGLM", "text", "ChatGLM-6B", build_chatglm},
    {"qwen", nullptr, "Qwen", "text", "Qwen-1.8B, 7B, 14B, 72B (-Chat)", build_qwen},
    {"qwen2", nullptr, "Qwen2, Qwen2.5", "text",
     "Qwen2-0.5B to 72B, Qwen2.5-0.5B to 72B (-Instruct)", build_qwen2},
    {"qwen2_5_vl", nullptr, "Qwen2.5-VL", "text, images, videos",
     "Qwen2.5-VL-3B, 7B, 32B, 72B (-Instruct)", build_qwen2_5_vl},
    {"qwen2_vl", nullptr, "Qwen2-VL", "text, images, videos", "Qwen2-VL-2B, 7B, 72B (-Instruct)",
     build_qwen2_vl},
    {"qwen3_vl", nullptr, "Qwen3-VL", "text, images, videos",
     "Qwen3-VL-2B, 4B, 8B, 32B (-Instruct)", build_qwen3_vl},
};

/// Whether config.json says that the model is of this family; `model_type` is what it says there.
bool is_of(const Family& family, const std::string& model_type, const Json& config) {
  return model_type == family.model_type &&
         (family.config_key == nullptr ||
          (config.is_object() && config.contains(family.config_key)));
}

}  // namespace

const Family& find_family(const ModelFiles& files, const std::string& model_type,
                          const Limits& limits) {
  const Json config = read_json_file(files, "config.json", limits);
  std::string keys;
  for (const Family& family : kFamilies) {
    if (is_of(family, model_type, config)) return family;
    if (model_type == family.model_type) {
      keys += (keys.empty() ? "" : " or ") + fmt::format("'{}'", family.config_key);
    }
  }
  if (!keys.empty()) {
    throw_error(ErrorCode::kUnsupported, "{}: model_type '{}' is supported only with {}",
                files.where("config.json"), model_type, keys);
  }
  throw_error(ErrorCode::kUnsupported, "{}: model_type '{}' is not supported, expected one of: {}",
              files.where("config.json"), model_type, fmt::join(supported_model_types(), ", "));
}

std::vector<FamilyInfo> supported_families() {
  std::vector<FamilyInfo> out;
  for (const Family& family : kFamilies) {
    out.push_back({family.model_type, family.name, family.takes, family.checkpoints});
  }
  return out;
}

std::vector<std::string> supported_model_types() {
  std::vector<std::string> out;
  for (const Family& family : kFamilies) {
    if (out.empty() || out.back() != family.model_type) out.emplace_back(family.model_type);
  }
  return out;
}

bool is_supported(const ModelFiles& files, const std::string& model_type, const Limits& limits) {
  const Json config = read_json_file(files, "config.json", limits);
  return std::any_of(std::begin(kFamilies), std::end(kFamilies),
                     [&](const Family& family) { return is_of(family, model_type, config); });
}

}  // namespace reelm::pipeline
