// One JSON text as every settings file of a model directory.
// Holds: settings that were accepted can be computed with.
#include <cmath>
#include <optional>
#include <string>

#include "llm/chatglm/config.h"
#include "llm/chatglm2/config.h"
#include "llm/qwen/config.h"
#include "llm/qwen2/config.h"
#include "llm/qwen2_5_vl/config.h"
#include "llm/qwen2_vl/config.h"
#include "llm/qwen3_vl/config.h"
#include "pipeline/chat_template.h"
#include "pipeline/generation_config.h"
#include "preprocess/config.h"
#include "preprocess/patchify.h"
#include "preprocess/sampling.h"
#include "tests/fuzz/fuzz.h"
#include "vision/qwen2_5_vl/config.h"
#include "vision/qwen2_vl/config.h"
#include "vision/qwen3_vl/config.h"

namespace reelm::fuzz {
namespace {

void check(const llm::qwen2_vl::DecoderConfig& c) {
  REELM_CHECK(c.hidden_size > 0 && c.intermediate_size > 0 && c.num_hidden_layers > 0);
  REELM_CHECK(c.vocab_size > 0 && c.max_position_embeddings > 0);
  REELM_CHECK(c.head_dim > 0 && c.head_dim % 2 == 0);
  REELM_CHECK(c.num_key_value_heads > 0 && c.num_attention_heads % c.num_key_value_heads == 0);
  REELM_CHECK(c.rms_norm_eps >= 0 && c.rope_theta > 0);
  std::int64_t sum = 0;
  REELM_CHECK(!c.mrope_section.empty());
  for (const std::int64_t part : c.mrope_section) sum += part;
  REELM_CHECK(sum == c.head_dim / 2);
}

void check(const llm::qwen2_5_vl::Config& c) {
  check(c.decoder);
  REELM_CHECK(c.tokens_per_second > 0 && std::isfinite(c.tokens_per_second));
}

void check(const llm::chatglm::DecoderConfig& c) {
  REELM_CHECK(c.hidden_size > 0 && c.inner_hidden_size > 0 && c.num_layers > 0);
  REELM_CHECK(c.head_dim > 0 && c.head_dim % 4 == 0);
  REELM_CHECK(c.head_dim * c.num_attention_heads == c.hidden_size);
  REELM_CHECK(c.max_sequence_length > 0 && c.layernorm_epsilon >= 0);
  for (const llm::TokenId id : {c.bos_token_id, c.gmask_token_id}) {
    REELM_CHECK(id >= 0 && id < c.vocab_size);
  }
}

void check(const llm::chatglm2::DecoderConfig& c) {
  check(static_cast<const llm::qwen2_vl::DecoderConfig&>(c.decoder));
  REELM_CHECK(c.decoder.head_dim % 4 == 0 && c.position_divisor >= 1.0);
}

void check(const vision::TowerSizes& c) {
  REELM_CHECK(c.depth > 0 && c.num_heads > 0 && c.head_dim() > 0 && c.patch_dim() > 0);
  REELM_CHECK(c.embed_dim % c.num_heads == 0 && c.intermediate_size > 0 && c.rope_theta > 0);
}

void check(const vision::qwen3_vl::VisionConfig& c) {
  check(static_cast<const vision::TowerSizes&>(c));
  REELM_CHECK(c.grid_side() > 0 && c.grid_side() * c.grid_side() <= c.num_position_embeddings);
  for (const std::int64_t block : c.deepstack_visual_indexes) REELM_CHECK(block < c.depth);
}

void check(const vision::qwen2_5_vl::VisionConfig& c) {
  check(static_cast<const vision::TowerSizes&>(c));
  REELM_CHECK(c.window_side() > 0);
  for (const std::int64_t block : c.fullatt_block_indexes) REELM_CHECK(block >= 0);
}

/// The sizes that a plan would compute.
void check(const preprocess::PreprocessorConfig& c) {
  using namespace preprocess;
  REELM_CHECK(c.factor() > 0 && c.temporal_patch_size > 0);
  for (const auto& channel : make_normalize_table(c)) {
    for (const float value : channel) REELM_CHECK(std::isfinite(value));
  }
  for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
    SamplingOptions options;
    options.reference = reference;
    options.min_pixels = c.video_min_pixels;
    options.max_pixels = c.video_max_pixels;
    options.fps = c.fps;
    if (!c.fps) options.frames = c.num_frames;
    options.min_frames = c.min_frames;
    options.max_frames = c.max_frames;
    succeeds([&] {
      const std::int64_t n = frame_count(100, 25.0, c.temporal_patch_size, options);
      REELM_CHECK(n > 0);
      const PixelLimits limits =
          video_pixel_limits(n, c.factor(), c.temporal_patch_size, options,
                             c.cap_pixels_per_frame ? c.max_video_tokens : 0);
      const Size size =
          smart_resize({480, 640}, c.factor(), limits.min_pixels, limits.max_pixels, reference);
      REELM_CHECK(size.height > 0 && size.height % c.factor() == 0);
      REELM_CHECK(size.width > 0 && size.width % c.factor() == 0);
    });
  }
}

void check(const pipeline::GenerationConfig& c) {
  REELM_CHECK(!c.max_new_tokens || *c.max_new_tokens > 0);
  for (const llm::TokenId id : c.eos_token_id) REELM_CHECK(id >= 0);
}

void check(const std::optional<std::string>& system_message, std::size_t at_most) {
  REELM_CHECK(!system_message || system_message->size() < at_most);
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Directory directory;
  const auto& path = directory.path();
  for (const char* name :
       {"config.json", "generation_config.json", "preprocessor_config.json",
        "video_preprocessor_config.json", "processor_config.json", "tokenizer_config.json"}) {
    write_file(path / name, input);
  }
  Limits limits;
  limits.json_bytes = 1 << 16;
  succeeds([&] { check(llm::chatglm::load_decoder_config(path, limits)); });
  succeeds([&] { check(llm::chatglm2::load_decoder_config(path, limits)); });
  succeeds([&] { check(llm::qwen::load_decoder_config(path, limits).decoder); });
  succeeds([&] { check(llm::qwen2::load_decoder_config(path, limits)); });
  succeeds([&] { check(llm::qwen2_vl::load_decoder_config(path, limits)); });
  succeeds([&] { check(llm::qwen2_5_vl::load_config(path, limits)); });
  succeeds([&] { check(llm::qwen3_vl::load_decoder_config(path, limits)); });
  succeeds([&] { check(vision::qwen2_5_vl::load_vision_config(path, limits)); });
  succeeds([&] { check(vision::qwen3_vl::load_vision_config(path, limits)); });
  succeeds([&] { check(vision::qwen2_vl::load_vision_config(path, limits)); });
  succeeds([&] { check(preprocess::load_preprocessor_config(path, limits)); });
  succeeds([&] { check(pipeline::load_generation_config(path, limits)); });
  succeeds([&] { check(pipeline::load_default_system(path, limits), input.size()); });
  check(pipeline::default_system_of(text(input)), input.size());
}

}  // namespace reelm::fuzz
