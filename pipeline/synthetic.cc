#include "pipeline/synthetic.h"

#include <algorithm>
#include <utility>

#include "core/aligned_buffer.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "llm/chatglm/decoder.h"
#include "llm/chatglm2/decoder.h"
#include "llm/qwen/decoder.h"
#include "llm/qwen2/decoder.h"
#include "llm/qwen3_vl/decoder.h"
#include "pipeline/synthetic_tokenizer.h"
#include "vision/qwen2_5_vl/encoder.h"
#include "vision/qwen2_vl/encoder.h"
#include "vision/qwen3_vl/encoder.h"

namespace reelm::pipeline {

namespace {

/// A tensor to be made: ones for the weights of norms, else random.
struct Wanted {
  std::string name;
  std::vector<std::int64_t> shape;
  bool ones = false;

  std::int64_t numel() const {
    std::int64_t n = 1;
    for (const std::int64_t size : shape) n *= size;
    return n;
  }
};

void want_linear(std::vector<Wanted>& out, const std::string& prefix, std::int64_t rows,
                 std::int64_t cols, bool bias) {
  out.push_back({prefix + ".weight", {rows, cols}});
  if (bias) out.push_back({prefix + ".bias", {rows}});
}

void want_layer_norm(std::vector<Wanted>& out, const std::string& prefix, std::int64_t size) {
  out.push_back({prefix + ".weight", {size}, true});
  out.push_back({prefix + ".bias", {size}});
}

/// `want_block(prefix)` adds a block's norms and MLP.
template <class WantBlock>
void want_tower(std::vector<Wanted>& out, const vision::TowerSizes& c, WantBlock&& want_block) {
  const std::string visual = "visual.";
  out.push_back({visual + "patch_embed.proj.weight",
                 {c.embed_dim, c.in_channels, c.temporal_patch_size, c.patch_size, c.patch_size}});
  for (std::int64_t i = 0; i < c.depth; ++i) {
    const std::string block = visual + "blocks." + std::to_string(i) + ".";
    want_block(block);
    want_linear(out, block + "attn.qkv", 3 * c.embed_dim, c.embed_dim, true);
    want_linear(out, block + "attn.proj", c.embed_dim, c.embed_dim, true);
  }
}

void want_merger(std::vector<Wanted>& out, const vision::TowerSizes& c, const std::string& fc1,
                 const std::string& fc2) {
  want_linear(out, fc1, c.merged_dim(), c.merged_dim(), true);
  want_linear(out, fc2, c.hidden_size, c.merged_dim(), true);
}

void want_vision(std::vector<Wanted>& out, const vision::qwen2_vl::VisionConfig& c) {
  want_tower(out, c, [&](const std::string& block) {
    want_layer_norm(out, block + "norm1", c.embed_dim);
    want_layer_norm(out, block + "norm2", c.embed_dim);
    want_linear(out, block + "mlp.fc1", c.intermediate_size, c.embed_dim, true);
    want_linear(out, block + "mlp.fc2", c.embed_dim, c.intermediate_size, true);
  });
  want_layer_norm(out, "visual.merger.ln_q", c.embed_dim);
  want_merger(out, c, "visual.merger.mlp.0", "visual.merger.mlp.2");
}

void want_vision(std::vector<Wanted>& out, const vision::qwen2_5_vl::VisionConfig& c) {
  want_tower(out, c, [&](const std::string& block) {
    out.push_back({block + "norm1.weight", {c.embed_dim}, true});
    out.push_back({block + "norm2.weight", {c.embed_dim}, true});
    want_linear(out, block + "mlp.gate_proj", c.intermediate_size, c.embed_dim, true);
    want_linear(out, block + "mlp.up_proj", c.intermediate_size, c.embed_dim, true);
    want_linear(out, block + "mlp.down_proj", c.embed_dim, c.intermediate_size, true);
  });
  out.push_back({"visual.merger.ln_q.weight", {c.embed_dim}, true});
  want_merger(out, c, "visual.merger.mlp.0", "visual.merger.mlp.2");
}

void want_vision(std::vector<Wanted>& out, const vision::qwen3_vl::VisionConfig& c) {
  want_tower(out, c, [&](const std::string& block) {
    want_layer_norm(out, block + "norm1", c.embed_dim);
    want_layer_norm(out, block + "norm2", c.embed_dim);
    want_linear(out, block + "mlp.linear_fc1", c.intermediate_size, c.embed_dim, true);
    want_linear(out, block + "mlp.linear_fc2", c.embed_dim, c.intermediate_size, true);
  });
  out.push_back({"visual.patch_embed.proj.bias", {c.embed_dim}});
  out.push_back({"visual.pos_embed.weight", {c.num_position_embeddings, c.embed_dim}});
  const auto merger = [&](const std::string& name, std::int64_t normed) {
    want_layer_norm(out, name + ".norm", normed);
    want_merger(out, c, name + ".linear_fc1", name + ".linear_fc2");
  };
  merger("visual.merger", c.embed_dim);
  for (std::size_t i = 0; i < c.deepstack_visual_indexes.size(); ++i) {
    merger("visual.deepstack_merger_list." + std::to_string(i), c.merged_dim());
  }
}

void want_decoder(std::vector<Wanted>& out, const llm::qwen2_vl::DecoderConfig& c) {
  const std::int64_t q = c.num_attention_heads * c.head_dim;
  const std::int64_t kv = c.num_key_value_heads * c.head_dim;
  out.push_back({"model.embed_tokens.weight", {c.vocab_size, c.hidden_size}});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    out.push_back({layer + "input_layernorm.weight", {c.hidden_size}, true});
    out.push_back({layer + "post_attention_layernorm.weight", {c.hidden_size}, true});
    // Families that norm heads have no biases there.
    want_linear(out, layer + "self_attn.q_proj", q, c.hidden_size, !c.qk_norm);
    want_linear(out, layer + "self_attn.k_proj", kv, c.hidden_size, !c.qk_norm);
    want_linear(out, layer + "self_attn.v_proj", kv, c.hidden_size, !c.qk_norm);
    if (c.qk_norm) {
      out.push_back({layer + "self_attn.q_norm.weight", {c.head_dim}, true});
      out.push_back({layer + "self_attn.k_norm.weight", {c.head_dim}, true});
    }
    want_linear(out, layer + "self_attn.o_proj", c.hidden_size, q, false);
    want_linear(out, layer + "mlp.gate_proj", c.intermediate_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.up_proj", c.intermediate_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.down_proj", c.hidden_size, c.intermediate_size, false);
  }
  out.push_back({"model.norm.weight", {c.hidden_size}, true});
  if (!c.tie_word_embeddings) want_linear(out, "lm_head", c.vocab_size, c.hidden_size, false);
}

void want_qwen(std::vector<Wanted>& out, const llm::qwen2::DecoderConfig& c) {
  out.push_back({"transformer.wte.weight", {c.vocab_size, c.hidden_size}});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = "transformer.h." + std::to_string(i) + ".";
    out.push_back({layer + "ln_1.weight", {c.hidden_size}, true});
    out.push_back({layer + "ln_2.weight", {c.hidden_size}, true});
    want_linear(out, layer + "attn.c_attn", 3 * c.hidden_size, c.hidden_size, true);
    want_linear(out, layer + "attn.c_proj", c.hidden_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.w1", c.intermediate_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.w2", c.intermediate_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.c_proj", c.hidden_size, c.intermediate_size, false);
  }
  out.push_back({"transformer.ln_f.weight", {c.hidden_size}, true});
  want_linear(out, "lm_head", c.vocab_size, c.hidden_size, false);
}

std::unique_ptr<llm::Decoder> make_qwen(const llm::qwen2::DecoderConfig& sizes,
                                        const layers::WeightReader& reader,
                                        kernels::ComputeType type) {
  llm::qwen::DecoderConfig config;
  config.decoder = sizes;
  config.seq_length = 8192;
  config.use_dynamic_ntk = config.use_logn_attn = true;
  return llm::qwen::make_decoder(config, reader, type);
}

void want_chatglm(std::vector<Wanted>& out, const llm::qwen2::DecoderConfig& c) {
  const std::string model = "transformer.";
  out.push_back({model + "word_embeddings.weight", {c.vocab_size, c.hidden_size}});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = model + "layers." + std::to_string(i) + ".";
    want_layer_norm(out, layer + "input_layernorm", c.hidden_size);
    want_layer_norm(out, layer + "post_attention_layernorm", c.hidden_size);
    want_linear(out, layer + "attention.query_key_value", 3 * c.hidden_size, c.hidden_size, true);
    want_linear(out, layer + "attention.dense", c.hidden_size, c.hidden_size, true);
    want_linear(out, layer + "mlp.dense_h_to_4h", c.intermediate_size, c.hidden_size, true);
    want_linear(out, layer + "mlp.dense_4h_to_h", c.hidden_size, c.intermediate_size, true);
  }
  want_layer_norm(out, model + "final_layernorm", c.hidden_size);
  want_linear(out, "lm_head", c.vocab_size, c.hidden_size, false);
}

std::unique_ptr<llm::Decoder> make_chatglm(const llm::qwen2::DecoderConfig& sizes,
                                           const layers::WeightReader& reader,
                                           kernels::ComputeType type) {
  llm::chatglm::DecoderConfig config;
  config.hidden_size = sizes.hidden_size;
  config.inner_hidden_size = sizes.intermediate_size;
  config.num_layers = sizes.num_hidden_layers;
  config.num_attention_heads = sizes.num_attention_heads;
  config.head_dim = sizes.head_dim;
  config.vocab_size = sizes.vocab_size;
  config.max_sequence_length = sizes.max_position_embeddings;
  return llm::chatglm::make_decoder(config, reader, type);
}

void want_chatglm2(std::vector<Wanted>& out, const llm::qwen2::DecoderConfig& c) {
  const std::int64_t qkv = (c.num_attention_heads + 2 * c.num_key_value_heads) * c.head_dim;
  const std::string model = "transformer.";
  out.push_back({model + "embedding.word_embeddings.weight", {c.vocab_size, c.hidden_size}});
  for (std::int64_t i = 0; i < c.num_hidden_layers; ++i) {
    const std::string layer = model + "encoder.layers." + std::to_string(i) + ".";
    out.push_back({layer + "input_layernorm.weight", {c.hidden_size}, true});
    out.push_back({layer + "post_attention_layernorm.weight", {c.hidden_size}, true});
    want_linear(out, layer + "self_attention.query_key_value", qkv, c.hidden_size, true);
    want_linear(out, layer + "self_attention.dense", c.hidden_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.dense_h_to_4h", 2 * c.intermediate_size, c.hidden_size, false);
    want_linear(out, layer + "mlp.dense_4h_to_h", c.hidden_size, c.intermediate_size, false);
  }
  out.push_back({model + "encoder.final_layernorm.weight", {c.hidden_size}, true});
  want_linear(out, model + "output_layer", c.vocab_size, c.hidden_size, false);
}

std::unique_ptr<llm::Decoder> make_chatglm2(const llm::qwen2::DecoderConfig& sizes,
                                            const layers::WeightReader& reader,
                                            kernels::ComputeType type) {
  llm::chatglm2::DecoderConfig config;
  config.decoder = sizes;
  config.add_qkv_bias = true;
  return llm::chatglm2::make_decoder(config, reader, type);
}

/// How a decoder is made.
struct DecoderKind {
  const char* name;
  void (*want)(std::vector<Wanted>& out, const llm::qwen2::DecoderConfig& sizes);
  std::unique_ptr<llm::Decoder> (*make)(const llm::qwen2::DecoderConfig& sizes,
                                        const layers::WeightReader& reader,
                                        kernels::ComputeType type);
};
constexpr DecoderKind kDecoderKinds[] = {{"chatglm", want_chatglm, make_chatglm},
                                         {"chatglm2", want_chatglm2, make_chatglm2},
                                         {"qwen", want_qwen, make_qwen},
                                         {"qwen2", want_decoder, llm::qwen2::make_decoder},
                                         {"qwen3_vl", want_decoder, llm::qwen3_vl::make_decoder}};

const DecoderKind& decoder_kind(const std::string& name) {
  const auto* const it = std::find_if(std::begin(kDecoderKinds), std::end(kDecoderKinds),
                                      [&](const DecoderKind& kind) { return name == kind.name; });
  REELM_CHECK(it != std::end(kDecoderKinds));
  return *it;
}

std::uint64_t mix(std::uint64_t x) {  // SplitMix64
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

/// bf16 values of both signs with exponents of 2^-8 to 2^-5: the size of trained weights (0.02 in
/// the mean), none so small that arithmetic on it would be slow. Four of them from one number.
void fill_random(bf16_t* out, std::int64_t n, std::uint64_t seed) {
  parallel_for((n + 3) / 4, 1 << 14, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::uint64_t random = mix(seed + static_cast<std::uint64_t>(i));
      for (std::int64_t j = i * 4; j < std::min(n, i * 4 + 4); ++j) {
        const auto bits = static_cast<std::uint16_t>(random >> (16 * (j & 3)));
        // Sign and 7 bits of mantissa as they come, the exponent 119 plus two of the others.
        const auto exponent = static_cast<std::uint16_t>(119 + (bits >> 7 & 3));
        out[j].bits = static_cast<std::uint16_t>((bits & 0x807f) | exponent << 7);
      }
    }
  });
}

constexpr std::uint16_t kOne = 0x3f80;  // 1 in bf16

/// Windows of one block: [0, largest) random, behind it the ones.
std::shared_ptr<const Checkpoint> make_checkpoint(const std::vector<Wanted>& wanted,
                                                  std::string_view name, std::uint64_t seed) {
  std::int64_t largest = 0, ones = 0;
  for (const Wanted& w : wanted) {
    std::int64_t& room = w.ones ? ones : largest;
    room = std::max(room, w.numel());
  }
  const auto block =
      std::make_shared<AlignedBuffer<bf16_t>>(static_cast<std::size_t>(largest + ones));
  fill_random(block->data(), largest, mix(seed));
  std::fill_n(block->data() + largest, ones, bf16_t{kOne});
  std::vector<StoredTensor> tensors;
  std::uint64_t place = seed;
  for (const Wanted& w : wanted) {
    const std::int64_t n = w.numel();
    place = mix(place);
    const auto free = static_cast<std::uint64_t>(largest - n) + 1;
    const std::int64_t first = w.ones ? largest : static_cast<std::int64_t>(place % free);
    tensors.push_back(
        {w.name, DType::kBF16, w.shape,
         std::as_bytes(std::span(block->data() + first, static_cast<std::size_t>(n)))});
  }
  return std::make_shared<const Checkpoint>(
      Checkpoint::from_tensors(std::move(tensors), block, std::string(name)));
}

void check_memory(const std::vector<Wanted>& wanted, std::string_view name,
                  const ModelDtypes& dtypes, const llm::qwen2_vl::DecoderConfig& decoder) {
  std::int64_t largest = 0;
  double bits = 0.0;
  for (const Wanted& w : wanted) {
    largest = std::max(largest, w.numel());
    // Embeddings are packed only where they serve as the head too.
    const bool embeddings = w.name.ends_with("embed_tokens.weight") ||
                            w.name.ends_with(".wte.weight") ||
                            w.name.ends_with("word_embeddings.weight");
    if (embeddings && !decoder.tie_word_embeddings) continue;
    const Dtype dtype = w.name.starts_with("visual.") ? dtypes.vision : dtypes.decoder;
    bits += static_cast<double>(w.numel()) * kernels::bits_per_weight(compute_type(dtype));
  }
  const auto packed = static_cast<std::int64_t>(bits / 8.0);
  const std::int64_t needed = packed + largest * 2;
  const std::int64_t available = available_memory_bytes();
  if (available > 0 && needed > available) {
    throw_error(ErrorCode::kOutOfMemory,
                "{}: takes {} MB ({} MB of weights as {}, {} MB of embeddings), {} MB of memory "
                "are available",
                name, needed >> 20, packed >> 20, dtype_name(dtypes.decoder), largest * 2 >> 20,
                available >> 20);
  }
}

}  // namespace

Model make_synthetic_model(std::string_view name, const ModelDtypes& dtypes, std::uint64_t seed) {
  const SyntheticSizes sizes = synthetic_sizes(name);
  Model model;
  model.directory = name;
  model.model_type = sizes.model_type;
  model.dtypes = resolve_dtypes(dtypes, Dtype::kBF16);
  std::vector<Wanted> wanted;
  if (sizes.has_vision) {
    std::visit([&](const auto& vision) { want_vision(wanted, vision); }, sizes.vision);
  }
  const DecoderKind& kind = decoder_kind(sizes.decoder_kind);
  kind.want(wanted, sizes.decoder);
  check_memory(wanted, name, model.dtypes, sizes.decoder);
  model.checkpoint = make_checkpoint(wanted, name, seed);
  const layers::WeightReader reader(model.checkpoint);
  if (sizes.has_vision) {
    // Finds the function by its family's namespace.
    model.vision = std::visit(
        [&](const auto& vision) {
          return make_encoder(vision, reader, compute_type(model.dtypes.vision));
        },
        sizes.vision);
  }
  model.decoder = kind.make(sizes.decoder, reader, compute_type(model.dtypes.decoder));
  model.tokenizer = make_byte_tokenizer(sizes.decoder.vocab_size);
  model.tokens.im_start = *model.tokenizer->special_id("<|im_start|>");
  model.tokens.im_end = *model.tokenizer->special_id("<|im_end|>");
  if (!sizes.has_vision) return model;
  model.tokens.vision_start = *model.tokenizer->special_id("<|vision_start|>");
  model.tokens.vision_end = *model.tokenizer->special_id("<|vision_end|>");
  model.tokens.placeholders = sizes.decoder.vision_tokens;
  model.slice_timestamps = sizes.slice_timestamps;
  model.preprocessor.patch_size = sizes.tower().patch_size;
  return model;
}

}  // namespace reelm::pipeline
