// Qwen2-VL: the decoder's file and the tower's (mmproj). Names: llama.cpp's conversion/qwenvl.py
// and tools/mtmd/clip-impl.h.
#include <algorithm>

#include "core/throw.h"
#include "pipeline/gguf/family.h"

namespace reelm::pipeline::gguf {

namespace {

constexpr std::int64_t kMaxSize = 1 << 20;

constexpr ModuleName kTowerNames[] = {
    {"v.blk.{}.ln1", "visual.blocks.{}.norm1"},
    {"v.blk.{}.attn_qkv", "visual.blocks.{}.attn.qkv"},
    {"v.blk.{}.attn_out", "visual.blocks.{}.attn.proj"},
    {"v.blk.{}.ln2", "visual.blocks.{}.norm2"},
    {"v.blk.{}.ffn_up", "visual.blocks.{}.mlp.fc1"},
    {"v.blk.{}.ffn_down", "visual.blocks.{}.mlp.fc2"},
    {"v.post_ln", "visual.merger.ln_q"},
    {"mm.0", "visual.merger.mlp.0"},
    {"mm.2", "visual.merger.mlp.2"},
};
constexpr const char* kQkv[] = {"v.blk.{}.attn_q", "v.blk.{}.attn_k", "v.blk.{}.attn_v"};
constexpr const char* kFrames[] = {"v.patch_embd.weight", "v.patch_embd.weight.1"};
constexpr JoinedName kTowerJoined[] = {
    {JoinedName::How::kRows, kQkv, "visual.blocks.{}.attn.qkv"},
    {JoinedName::How::kFrames, kFrames, "visual.patch_embed.proj.weight"},
};

/// Rows of a bias of the first block's MLP.
std::int64_t mlp_rows(const GgufFile& file, const char* name) {
  const StoredTensor* bias = file.find(name);
  if (bias == nullptr || bias->shape.size() != 1) {
    throw_error(ErrorCode::kFormat, "{}: no tensor '{}' of one size, which tells the MLP's",
                file.path().string(), name);
  }
  return bias->shape[0];
}

/// The MLP widens, so the larger bias is that of its first product.
bool swapped_mlp(const GgufFile& file) {
  return mlp_rows(file, "v.blk.0.ffn_up.bias") < mlp_rows(file, "v.blk.0.ffn_down.bias");
}

/// Id of a token by its content.
std::int64_t token_id(const GgufFile& file, std::string_view content) {
  const auto tokens = file.strings("tokenizer.ggml.tokens");
  const auto at =
      tokens ? std::find(tokens->begin(), tokens->end(), content) : decltype(tokens->end())();
  if (!tokens || at == tokens->end()) {
    throw_error(ErrorCode::kFormat, "{}: 'tokenizer.ggml.tokens' has no '{}'", file.path().string(),
                content);
  }
  return at - tokens->begin();
}

/// mlp_ratio. The converter writes down another size (the decoder's) as feed_forward_length.
std::int64_t mlp_ratio(const GgufFile& file, std::int64_t embed_dim) {
  const std::int64_t wide =
      std::max(mlp_rows(file, "v.blk.0.ffn_up.bias"), mlp_rows(file, "v.blk.0.ffn_down.bias"));
  if (wide % embed_dim != 0) {
    throw_error(ErrorCode::kUnsupported, "{}: the MLP is {} wide, expected a multiple of {}",
                file.path().string(), wide, embed_dim);
  }
  return wide / embed_dim;
}

void check_activation(const GgufFile& file) {
  for (const char* key : {"clip.use_gelu", "clip.use_silu"}) {
    if (!file.flag(key).value_or(false)) continue;
    throw_error(ErrorCode::kUnsupported, "{}: metadata '{}' is true, expected quick_gelu",
                file.path().string(), key);
  }
}

void configure(const GgufFile& text, const GgufFile& file, Json& config, Json& preprocessor) {
  check_activation(file);
  const std::string vision = "clip.vision.";
  const auto integer = [&](const char* key) {
    return required_integer(file, vision + key, kMaxSize);
  };
  const std::int64_t embed_dim = integer("embedding_length"), patch_size = integer("patch_size");
  const std::int64_t merge = file.integer(vision + "spatial_merge_size", 1, kMaxSize).value_or(2);
  constexpr std::int64_t kFramesOfPatch = std::size(kFrames);
  config["vision_config"] = {{"depth", integer("block_count")},
                             {"embed_dim", embed_dim},
                             {"hidden_size", integer("projection_dim")},
                             {"in_channels", 3},
                             {"mlp_ratio", mlp_ratio(file, embed_dim)},
                             {"num_heads", integer("attention.head_count")},
                             {"patch_size", patch_size},
                             {"spatial_merge_size", merge},
                             {"temporal_patch_size", kFramesOfPatch}};
  config["image_token_id"] = token_id(text, "<|image_pad|>");
  config["video_token_id"] = token_id(text, "<|video_pad|>");
  preprocessor = {
      {"merge_size", merge}, {"patch_size", patch_size}, {"temporal_patch_size", kFramesOfPatch}};
  for (const char* key : {"image_mean", "image_std"}) {
    if (const auto numbers = file.numbers(vision + key)) preprocessor[key] = *numbers;
  }
}

constexpr Projector kProjector = {"qwen2vl_merger", kTowerNames, kTowerJoined, swapped_mlp,
                                  configure};

Json config(const GgufFile& file) {
  Json out = qwen2_decoder_config(file);
  out["model_type"] = "qwen2_vl";
  const std::string key = "qwen2vl.rope.dimension_sections";
  auto sections = file.integers(key, 0, kMaxSize);
  if (!sections || sections->size() < 3 || (sections->size() > 3 && (*sections)[3] != 0)) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}, expected three sizes and 0",
                file.path().string(), key, sections ? shape_string(*sections) : "missing");
  }
  if (out.contains("rope_scaling")) {
    throw_error(ErrorCode::kUnsupported,
                "{}: metadata 'qwen2vl.rope.scaling.type' is {}, expected none",
                file.path().string(), out["rope_scaling"]["type"].dump());
  }
  sections->resize(3);
  out["rope_scaling"] = {{"type", "mrope"}, {"mrope_section", *sections}};
  return out;
}

}  // namespace

const Family kQwen2Vl = {"qwen2vl", kQwen2.names, &kProjector, config};

}  // namespace reelm::pipeline::gguf
