#include "pipeline/synthetic_sizes.h"

#include <array>
#include <utility>

#include "core/throw.h"
#include "pipeline/synthetic_tokenizer.h"

namespace reelm::pipeline {

namespace {

/// What all sizes share, and what follows from them.
void complete_decoder(llm::qwen2::DecoderConfig& decoder) {
  decoder.head_dim = decoder.hidden_size / decoder.num_attention_heads;
  decoder.max_position_embeddings = 32768;
  decoder.rope_theta = 1'000'000.0;
}

SyntheticSizes complete_text(SyntheticSizes sizes) {
  complete_decoder(sizes.decoder);
  sizes.decoder.mrope_section = {sizes.decoder.head_dim / 2, 0, 0};
  sizes.has_vision = false;
  sizes.model_type = "qwen2";
  return sizes;
}

SyntheticSizes complete_qwen(SyntheticSizes sizes) {
  sizes.decoder.num_key_value_heads = sizes.decoder.num_attention_heads;
  sizes.decoder.tie_word_embeddings = false;
  sizes = complete_text(sizes);
  sizes.decoder.rope_theta = 10'000.0;
  sizes.model_type = sizes.decoder_kind = "qwen";
  return sizes;
}

SyntheticSizes complete_chatglm2(SyntheticSizes sizes) {
  sizes.decoder.tie_word_embeddings = false;
  sizes = complete_text(sizes);
  sizes.decoder.rope_theta = 10'000.0;
  sizes.model_type = "chatglm";
  sizes.decoder_kind = "chatglm2";
  return sizes;
}

SyntheticSizes complete(SyntheticSizes sizes) {
  auto& decoder = sizes.decoder;
  complete_decoder(decoder);
  const std::int64_t half = decoder.head_dim / 2;
  decoder.mrope_section = {half / 4, half * 3 / 8, half * 3 / 8};  // 16, 24, 24 of 64
  const auto tokenizer = make_byte_tokenizer(decoder.vocab_size);
  decoder.vision_tokens = {*tokenizer->special_id("<|image_pad|>"),
                           *tokenizer->special_id("<|video_pad|>")};
  std::visit([&](vision::TowerSizes& tower) { tower.hidden_size = decoder.hidden_size; },
             sizes.vision);
  return sizes;
}

SyntheticSizes sizes_2b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 1536;
  sizes.decoder.intermediate_size = 8960;
  sizes.decoder.num_hidden_layers = 28;
  sizes.decoder.num_attention_heads = 12;
  sizes.decoder.num_key_value_heads = 2;
  sizes.decoder.vocab_size = 151936;
  sizes.decoder.tie_word_embeddings = true;
  return complete(sizes);
}

/// The decoder of Qwen2-7B and Qwen2.5-7B.
SyntheticSizes decoder_7b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 3584;
  sizes.decoder.intermediate_size = 18944;
  sizes.decoder.num_hidden_layers = 28;
  sizes.decoder.num_attention_heads = 28;
  sizes.decoder.num_key_value_heads = 4;
  sizes.decoder.vocab_size = 152064;
  return sizes;
}

SyntheticSizes sizes_7b() { return complete(decoder_7b()); }

/// The tower of Qwen2.5-VL-3B and 7B before a decoder.
SyntheticSizes with_tower_2_5(SyntheticSizes sizes) {
  vision::qwen2_5_vl::VisionConfig vision;
  vision.embed_dim = 1280;
  sizes.vision = vision;
  sizes.model_type = "qwen2_5_vl";
  return complete(sizes);
}

SyntheticSizes sizes_2_5_3b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 2048;
  sizes.decoder.intermediate_size = 11008;
  sizes.decoder.num_hidden_layers = 36;
  sizes.decoder.num_attention_heads = 16;
  sizes.decoder.num_key_value_heads = 2;
  sizes.decoder.vocab_size = 151936;
  sizes.decoder.tie_word_embeddings = true;
  return with_tower_2_5(sizes);
}

SyntheticSizes sizes_2_5_7b() { return with_tower_2_5(decoder_7b()); }

/// The decoder as Qwen3-VL has it, before a tower of its kind.
SyntheticSizes as_qwen3_vl(SyntheticSizes sizes, const vision::qwen3_vl::VisionConfig& vision,
                           std::int64_t head_dim) {
  sizes.vision = vision;
  sizes.model_type = "qwen3_vl";
  sizes.decoder_kind = "qwen3_vl";
  sizes.slice_timestamps = true;
  sizes = complete(sizes);
  sizes.decoder.head_dim = head_dim;
  sizes.decoder.qk_norm = true;
  sizes.decoder.deepstack_layers = std::ssize(vision.deepstack_visual_indexes);
  const std::int64_t half = head_dim / 2, spatial = half * 5 / 16;  // 24, 20, 20 of 64
  sizes.decoder.mrope_section =
      llm::interleaved_mrope_section(std::array{half - 2 * spatial, spatial, spatial});
  return sizes;
}

/// Of Qwen3-VL-2B and 4B.
vision::qwen3_vl::VisionConfig smaller_tower_3() {
  vision::qwen3_vl::VisionConfig vision;
  vision.depth = 24;
  vision.embed_dim = 1024;
  vision.intermediate_size = 4096;
  vision.deepstack_visual_indexes = {5, 11, 17};
  return vision;
}

SyntheticSizes decoder_3(std::int64_t hidden_size, std::int64_t intermediate_size,
                         std::int64_t layers, std::int64_t heads, bool tied) {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = hidden_size;
  sizes.decoder.intermediate_size = intermediate_size;
  sizes.decoder.num_hidden_layers = layers;
  sizes.decoder.num_attention_heads = heads;
  sizes.decoder.num_key_value_heads = 8;
  sizes.decoder.vocab_size = 151936;
  sizes.decoder.tie_word_embeddings = tied;
  return sizes;
}

SyntheticSizes sizes_3_2b() {
  return as_qwen3_vl(decoder_3(2048, 6144, 28, 16, true), smaller_tower_3(), 128);
}
SyntheticSizes sizes_3_4b() {
  return as_qwen3_vl(decoder_3(2560, 9728, 36, 32, true), smaller_tower_3(), 128);
}
SyntheticSizes sizes_3_8b() { return as_qwen3_vl(decoder_3(4096, 12288, 36, 32, false), {}, 128); }

SyntheticSizes sizes_text_0_5b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 896;
  sizes.decoder.intermediate_size = 4864;
  sizes.decoder.num_hidden_layers = 24;
  sizes.decoder.num_attention_heads = 14;
  sizes.decoder.num_key_value_heads = 2;
  sizes.decoder.vocab_size = 151936;
  sizes.decoder.tie_word_embeddings = true;
  return complete_text(sizes);
}

SyntheticSizes sizes_qwen_7b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 4096;
  sizes.decoder.intermediate_size = 11008;
  sizes.decoder.num_hidden_layers = 32;
  sizes.decoder.num_attention_heads = 32;
  sizes.decoder.vocab_size = 151936;
  return complete_qwen(sizes);
}

SyntheticSizes sizes_chatglm_6b() {
  return sizes_of_chatglm({.hidden_size = 4096,
                           .inner_hidden_size = 16384,
                           .num_layers = 28,
                           .num_attention_heads = 32,
                           .head_dim = 128,
                           .vocab_size = 130528,
                           .max_sequence_length = 2048});
}

SyntheticSizes sizes_chatglm2_6b() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 4096;
  sizes.decoder.intermediate_size = 13696;
  sizes.decoder.num_hidden_layers = 28;
  sizes.decoder.num_attention_heads = 32;
  sizes.decoder.num_key_value_heads = 2;
  sizes.decoder.vocab_size = 65024;
  return complete_chatglm2(sizes);
}

SyntheticSizes tiny_decoder() {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = 64;
  sizes.decoder.intermediate_size = 128;
  sizes.decoder.num_hidden_layers = 2;
  sizes.decoder.num_attention_heads = 4;
  sizes.decoder.num_key_value_heads = 2;
  sizes.decoder.vocab_size = 300;
  sizes.decoder.tie_word_embeddings = true;
  return sizes;
}

SyntheticSizes sizes_tiny_text() { return complete_text(tiny_decoder()); }
SyntheticSizes sizes_tiny_qwen() { return complete_qwen(tiny_decoder()); }
SyntheticSizes sizes_tiny_chatglm() {
  return sizes_of_chatglm({.hidden_size = 64,
                           .inner_hidden_size = 128,
                           .num_layers = 2,
                           .num_attention_heads = 4,
                           .head_dim = 16,
                           .vocab_size = 300,
                           .max_sequence_length = 128});
}
SyntheticSizes sizes_tiny_chatglm2() { return complete_chatglm2(tiny_decoder()); }

/// With a tower of the family of `vision`.
template <class VisionConfig>
SyntheticSizes with_tiny_tower(VisionConfig vision) {
  SyntheticSizes sizes = tiny_decoder();
  vision.depth = 2;
  vision.embed_dim = 32;
  vision.num_heads = 2;
  vision.intermediate_size = 128;
  sizes.vision = std::move(vision);
  return complete(sizes);
}

SyntheticSizes sizes_tiny() { return with_tiny_tower(vision::qwen2_vl::VisionConfig()); }

SyntheticSizes sizes_tiny_2_5() {
  vision::qwen2_5_vl::VisionConfig vision;
  vision.fullatt_block_indexes = {1};
  SyntheticSizes sizes = with_tiny_tower(std::move(vision));
  sizes.model_type = "qwen2_5_vl";
  return sizes;
}

SyntheticSizes sizes_tiny_3() {
  vision::qwen3_vl::VisionConfig vision;
  vision.depth = 2;
  vision.embed_dim = 32;
  vision.num_heads = 2;
  vision.intermediate_size = 128;
  vision.num_position_embeddings = 36;
  vision.deepstack_visual_indexes = {0};
  return as_qwen3_vl(tiny_decoder(), vision, 32);
}

struct Named {
  const char* name;
  SyntheticSizes (*sizes)();
};
constexpr Named kNamed[] = {{"synthetic:qwen2-vl-2b", sizes_2b},
                            {"synthetic:qwen2-vl-7b", sizes_7b},
                            {"synthetic:qwen2.5-vl-3b", sizes_2_5_3b},
                            {"synthetic:qwen2.5-vl-7b", sizes_2_5_7b},
                            {"synthetic:qwen3-vl-2b", sizes_3_2b},
                            {"synthetic:qwen3-vl-4b", sizes_3_4b},
                            {"synthetic:qwen3-vl-8b", sizes_3_8b},
                            {"synthetic:qwen2-0.5b", sizes_text_0_5b},
                            {"synthetic:qwen-7b", sizes_qwen_7b},
                            {"synthetic:chatglm-6b", sizes_chatglm_6b},
                            {"synthetic:chatglm2-6b", sizes_chatglm2_6b},
                            {"synthetic:tiny", sizes_tiny},
                            {"synthetic:tiny-qwen2.5-vl", sizes_tiny_2_5},
                            {"synthetic:tiny-qwen3-vl", sizes_tiny_3},
                            {"synthetic:tiny-text", sizes_tiny_text},
                            {"synthetic:tiny-qwen", sizes_tiny_qwen},
                            {"synthetic:tiny-chatglm", sizes_tiny_chatglm},
                            {"synthetic:tiny-chatglm2", sizes_tiny_chatglm2}};

}  // namespace

SyntheticSizes sizes_of_chatglm(const llm::chatglm::DecoderConfig& config) {
  SyntheticSizes sizes;
  sizes.decoder.hidden_size = config.hidden_size;
  sizes.decoder.intermediate_size = config.inner_hidden_size;
  sizes.decoder.num_hidden_layers = config.num_layers;
  sizes.decoder.num_attention_heads = config.num_attention_heads;
  sizes.decoder.num_key_value_heads = config.num_attention_heads;
  sizes.decoder.head_dim = config.head_dim;
  sizes.decoder.vocab_size = config.vocab_size;
  sizes.decoder.max_position_embeddings = config.max_sequence_length;
  sizes.has_vision = false;
  sizes.model_type = sizes.decoder_kind = "chatglm";
  return sizes;
}

bool is_synthetic(std::string_view name) noexcept { return name.starts_with("synthetic:"); }

std::vector<std::string> synthetic_names() {
  std::vector<std::string> out;
  for (const Named& named : kNamed) out.emplace_back(named.name);
  return out;
}

SyntheticSizes synthetic_sizes(std::string_view name) {
  for (const Named& named : kNamed) {
    if (name == named.name) return named.sizes();
  }
  throw_error(ErrorCode::kInvalidArgument, "model is '{}', expected one of {}", name,
              fmt::join(synthetic_names(), ", "));
}

}  // namespace reelm::pipeline
