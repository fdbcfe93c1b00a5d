#include "bench/ladder/decoder.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bench/ladder/attention.h"
#include "kernels/attention.h"
#include "kernels/norm.h"
#include "kernels/reference/reference.h"
#include "kernels/rotary.h"

namespace reelm::bench {

/// One forward pass over n rows.
struct SwitchedDecoder::Pass {
  std::int64_t n = 0;
  TensorView<const std::int64_t> positions;  // [3, n]
  std::int64_t filled = 0;                   // positions of the cache once this pass is in it
  bool tiled = false;                        // attention by kernels::attention, over those
  Tensor mask;                               // else: [n, positions looked at]
  Tensor cos, sin;                           // [n, head_dim / 2]
};

SwitchedDecoder::SwitchedDecoder(const llm::qwen2::DecoderConfig& config,
                                 const llm::qwen2::DecoderWeights& weights,
                                 kernels::ComputeType type, llm::KvType kv_type,
                                 std::int64_t capacity, const Switches& switches)
    : config_(config),
      weights_(weights),
      type_(type),
      switches_(switches),
      capacity_(capacity),
      inv_freq_(llm::rope_inv_freq(config.rope_theta, config.head_dim)) {
  const llm::KvCache::Shape shape = {config.num_hidden_layers, config.num_key_value_heads,
                                     config.head_dim};
  cache_ = switches.fixed_cache ? make_fixed_cache(shape, kv_type, capacity)
                                : make_grown_cache(shape, kv_type, counters_);
}

Tensor SwitchedDecoder::embed(const llm::PromptInput& input) {
  const std::int64_t width = config_.hidden_size;
  Tensor x(std::ssize(input.ids), width, counters_);
  std::int64_t vision_row = 0;
  for (std::int64_t i = 0; i < x.rows(); ++i) {
    const llm::TokenId id = input.ids[static_cast<std::size_t>(i)];
    if (id == config_.vision_tokens.image || id == config_.vision_tokens.video) {
      std::copy_n(input.vision_embeds.row(vision_row++), width, x.row(i));
    } else {
      layers::copy_elements(weights_.embed_tokens, id * width, width, x.row(i));
    }
  }
  return x;
}

void SwitchedDecoder::prefill(const llm::PromptInput& input, TensorView<float> logits) {
  cache_->clear();
  forward(embed(input), input.position_ids, logits);
}

void SwitchedDecoder::step(llm::TokenId token, std::int64_t position, TensorView<float> logits) {
  const std::int64_t width = config_.hidden_size;
  const std::int64_t positions[3] = {position, position, position};
  Tensor x(1, width, counters_);
  layers::copy_elements(weights_.embed_tokens, token * width, width, x.row(0));
  forward(std::move(x), {positions, {3, 1}}, logits);
}

SwitchedDecoder::Pass SwitchedDecoder::begin(std::int64_t n,
                                             TensorView<const std::int64_t> positions) {
  const bool is_step = n == 1;
  Pass pass;
  pass.n = n;
  pass.positions = positions;
  pass.filled = cache_->length() + n;
  pass.tiled = is_step ? switches_.incremental_attention : switches_.flash_prompt;
  if (!pass.tiled) {
    const std::int64_t looked_at = is_step && switches_.fixed_cache ? capacity_ : pass.filled;
    pass.mask = causal_mask(n, looked_at, pass.filled, counters_);
  }
  if (switches_.rotary_once) make_rotary_table(pass);
  return pass;
}

void SwitchedDecoder::make_rotary_table(Pass& pass) {
  ++counters_.rotary_tables;
  pass.cos = Tensor(pass.n, config_.head_dim / 2, counters_);
  pass.sin = Tensor(pass.n, config_.head_dim / 2, counters_);
  llm::mrope_table(pass.positions, inv_freq_, config_.mrope_section, pass.cos.view(),
                   pass.sin.view());
}

TensorView<float> SwitchedDecoder::heads_of(Tensor& qkv, std::int64_t first,
                                            std::int64_t heads) const {
  const std::int64_t d = config_.head_dim;
  return {qkv.row(0) + first * d, {qkv.rows(), heads, d}, {qkv.width(), d, 1}};
}

void SwitchedDecoder::turn(Tensor& qkv, Pass& pass) {
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t kv_heads = config_.num_key_value_heads;
  if (switches_.rotary_once) {
    kernels::rotary(heads_of(qkv, 0, heads + kv_heads), pass.cos.view(), pass.sin.view());
    return;
  }
  make_rotary_table(pass);
  kernels::reference::rotary(heads_of(qkv, 0, heads), pass.cos.view(), pass.sin.view());
  kernels::reference::rotary(heads_of(qkv, heads, kv_heads), pass.cos.view(), pass.sin.view());
}

Tensor SwitchedDecoder::add_and_norm(Tensor& x, Tensor& delta, const AlignedBuffer<float>& weight) {
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  Tensor out(x.rows(), x.width(), counters_);
  if (!switches_.fused_add_norm) {
    if (!delta.empty()) x = add(x, delta, counters_);
    kernels::reference::rms_norm(x.view(), weight.data(), eps, out.view());
  } else if (delta.empty()) {
    kernels::rms_norm(x.view(), weight.data(), eps, out.view());
  } else {
    kernels::add_rms_norm(x.view(), delta.view(), weight.data(), eps, out.view());
  }
  return out;
}

Tensor SwitchedDecoder::attend(std::int64_t layer, Tensor& qkv, std::int64_t rows,
                               const Pass& pass) {
  const std::int64_t heads = config_.num_attention_heads, d = config_.head_dim;
  const std::int64_t first = qkv.rows() - rows;
  const float scale = 1.0f / std::sqrt(static_cast<float>(d));
  const TensorView<const float> q(qkv.row(first), {rows, heads, d}, {qkv.width(), d, 1});
  Tensor out(rows, q_dim(), counters_);
  const TensorView<float> mixed(out.row(0), {rows, heads, d});
  const auto run = [&](const auto& kv) {
    if (pass.tiled) {
      kernels::attention(q, kv.keys, kv.values, mixed, scale, /*causal=*/true,
                         kernels::attention_math(type_));
    } else {
      const TensorView<const float> mask(pass.mask.row(first), {rows, pass.mask.width()});
      plain_attention(q, kv.keys, kv.values, mask, scale, mixed, counters_);
    }
  };
  std::visit(run, cache_->view(layer, pass.tiled ? pass.filled : pass.mask.width()));
  return out;
}

void SwitchedDecoder::forward(Tensor x, TensorView<const std::int64_t> positions,
                              TensorView<float> logits) {
  Pass pass = begin(x.rows(), positions);
  Tensor delta;  // what the residual lacks
  for (std::size_t l = 0; l < weights_.layers.size(); ++l) {
    const llm::qwen2::LayerWeights& layer = weights_.layers[l];
    const auto index = static_cast<std::int64_t>(l);
    const Tensor normed = add_and_norm(x, delta, layer.input_layernorm);
    Tensor qkv = linear(layer.qkv, normed.view(), counters_);
    turn(qkv, pass);
    cache_->append(index, heads_of(qkv, config_.num_attention_heads, config_.num_key_value_heads),
                   heads_of(qkv, config_.num_attention_heads + config_.num_key_value_heads,
                            config_.num_key_value_heads));
    if (switches_.last_logits && l + 1 == weights_.layers.size()) x = last_row(x, counters_);
    const Tensor mixed = attend(index, qkv, x.rows(), pass);
    delta = linear(layer.o_proj, mixed.view(), counters_);
    const Tensor after = add_and_norm(x, delta, layer.post_attention_layernorm);
    Tensor hidden(x.rows(), config_.intermediate_size, counters_);
    layer.gate_up.forward_gated(after.view(), hidden.view());
    delta = linear(layer.down_proj, hidden.view(), counters_);
  }
  cache_->advance(pass.n);
  const Tensor normed = add_and_norm(x, delta, weights_.norm);
  const Tensor all = linear(weights_.lm_head, normed.view(), counters_);
  counters_.logits_rows += all.rows();
  std::copy_n(all.row(all.rows() - 1), all.width(), logits.data());
}

}  // namespace reelm::bench
