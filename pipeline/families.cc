#include "pipeline/families.h"

#include "core/throw.h"
#include "llm/qwen/decoder.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen2_5_vl/config.h"
#include "llm/qwen2_vl/config.h"
#include "pipeline/chat_template.h"
#include "vision/qwen2_5_vl/encoder.h"
#include "vision/qwen2_vl/encoder.h"

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

// Adding a family adds a row.
constexpr Family kFamilies[] = {
    {"qwen", "Qwen", "text", "Qwen-1.8B, 7B, 14B, 72B (-Chat)", build_qwen},
    {"qwen2", "Qwen2, Qwen2.5", "text", "Qwen2-0.5B to 72B, Qwen2.5-0.5B to 72B (-Instruct)",
     build_qwen2},
    {"qwen2_5_vl", "Qwen2.5-VL", "text, images, videos", "Qwen2.5-VL-3B, 7B, 32B, 72B (-Instruct)",
     build_qwen2_5_vl},
    {"qwen2_vl", "Qwen2-VL", "text, images, videos", "Qwen2-VL-2B, 7B, 72B (-Instruct)",
     build_qwen2_vl},
};

}  // namespace

const Family& find_family(const ModelFiles& files, const std::string& model_type) {
  for (const Family& family : kFamilies) {
    if (model_type == family.model_type) return family;
  }
  std::string known;
  for (const Family& family : kFamilies) {
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  throw_error(ErrorCode::kUnsupported, "{}: model_type '{}' is not supported, expected one of: {}",
              files.where("config.json"), model_type, known);
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
  for (const Family& family : kFamilies) out.emplace_back(family.model_type);
  return out;
}

}  // namespace reelm::pipeline
