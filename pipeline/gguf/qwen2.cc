// Qwen2 and Qwen2.5. Names: llama.cpp's gguf-py/gguf/tensor_mapping.py, MODEL_ARCH.QWEN2; rows of q
// and k are in the order of Hugging Face (its converter permutes them for Llama only).
#include "core/throw.h"
#include "pipeline/gguf/family.h"

namespace reelm::pipeline::gguf {

namespace {

constexpr std::int64_t kMaxSize = 1 << 24;

constexpr ModuleName kNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    {"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    {"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    {"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    {"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    {"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"},
    {"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    {"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
};

Json config(const GgufFile& file) {
  Json out = qwen2_decoder_config(file);
  out["model_type"] = "qwen2";
  return out;
}

}  // namespace

Json qwen2_decoder_config(const GgufFile& file) {
  const std::string architecture = required_string(file, "general.architecture");
  const StoredTensor* embeddings = file.find("token_embd.weight");
  if (embeddings == nullptr || embeddings->shape.empty()) {
    throw_error(ErrorCode::kFormat, "{}: no tensor 'token_embd.weight', which tells the vocabulary",
                file.path().string());
  }
  Json out;
  out["hidden_size"] = required_integer(file, ".embedding_length", kMaxSize);
  out["intermediate_size"] = required_integer(file, ".feed_forward_length", kMaxSize);
  out["num_hidden_layers"] = required_integer(file, ".block_count", kMaxSize);
  out["num_attention_heads"] = required_integer(file, ".attention.head_count", kMaxSize);
  out["max_position_embeddings"] = required_integer(file, ".context_length", kMaxSize);
  out["vocab_size"] = embeddings->shape[0];
  out["tie_word_embeddings"] = file.find("output.weight") == nullptr;
  out["hidden_act"] = "silu";
  const auto optional_integer = [&](const char* to, const char* key) {
    if (const auto v = file.integer(architecture + key, 1, kMaxSize)) out[to] = *v;
  };
  optional_integer("num_key_value_heads", ".attention.head_count_kv");
  optional_integer("head_dim", ".attention.key_length");
  const std::string eps = architecture + ".attention.layer_norm_rms_epsilon";
  if (const auto v = file.number(eps)) out["rms_norm_eps"] = *v;
  out["rope_theta"] = file.number(architecture + ".rope.freq_base").value_or(10'000.0);
  // Whoever reads the config refuses the kinds it cannot do.
  const auto scaling = file.string(architecture + ".rope.scaling.type");
  if (scaling && *scaling != "none") out["rope_scaling"] = {{"type", *scaling}};
  return out;
}

constinit const Family kQwen2 = {"qwen2", kNames, nullptr, config};

}  // namespace reelm::pipeline::gguf
