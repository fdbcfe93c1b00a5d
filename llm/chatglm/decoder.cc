#include "llm/chatglm/decoder.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>
#include <vector>

#include "core/layer_tap.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "core/trace.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "llm/cached_attention.h"
#include "llm/chatglm/positions.h"
#include "llm/chatglm/weights.h"
#include "llm/decoder_checks.h"
#include "llm/mrope.h"

namespace reelm::llm::chatglm {

namespace {

// Rows of a layer done at a time where a row needs no other: bounds the hidden rows of the MLP (34
// MB of ChatGLM-6B), and is enough rows for matrix products to run at full speed.
constexpr std::int64_t kTileRows = 512;

// alpha^2 of the residual: GLMBlock's num_layers counts 28 by default, and ChatGLMModel.get_layer
// of modeling_chatglm.py never tells it another number.
constexpr double kResidual = 2.0 * 28.0;

/// Rows [first, first + n) of a matrix.
TensorView<float> rows_of(TensorView<float> view, std::int64_t first, std::int64_t n) {
  return {view.row(first), {n, view.size(1)}};
}

/// Of the sequence in `cache`: prefill notes one more, with <sop>. One that steps began has none.
std::int64_t context_of(const KvCache& cache) {
  return std::max<std::int64_t>(cache.prompt_length() - 1, 0);
}

class ChatGlmDecoder final : public Decoder {
 public:
  ChatGlmDecoder(const DecoderConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
                 std::shared_ptr<const DecoderWeights> weights, kernels::ComputeType type)
      : config_(config),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        type_(type),
        inv_freq_(rotary_frequencies(config.head_dim)) {}

  std::unique_ptr<Decoder> replica() const override {
    return std::make_unique<ChatGlmDecoder>(config_, checkpoint_, weights_, type_);
  }
  std::int64_t vocab_size() const override { return config_.vocab_size; }
  std::int64_t hidden_size() const override { return config_.hidden_size; }
  std::int64_t max_position_embeddings() const override { return config_.max_sequence_length; }
  KvCache::Shape kv_shape() const override {
    return {config_.num_layers, config_.num_attention_heads, config_.head_dim};
  }
  KvType kv_type() const override {
    return type_ == kernels::ComputeType::kF32 ? KvType::kF32 : KvType::kBF16;
  }
  bool goes_on(const KvCache& cache, std::int64_t /*length*/) const override {
    return cache.length() == 0;
  }
  std::int64_t prefill_rows() const override { return config_.max_sequence_length; }
  std::size_t weight_bytes() const override { return weights_->size_bytes(); }
  std::size_t workspace_bytes() const override {
    return sizeof(float) * static_cast<std::size_t>(workspace_floats(prefill_rows()));
  }

  void prefill(const PromptInput& input, KvCache& cache, TensorView<float> logits,
               const CancelToken* cancel) override;
  void step_batch(std::span<const BatchRow> rows, TensorView<float> logits) override;

 private:
  /// Of a call with so many rows: x, qkv, cos and sin of all, and a tile's normed, attention and
  /// hidden of the MLP.
  std::int64_t workspace_floats(std::int64_t rows) const {
    const std::int64_t tile = std::min(rows, kTileRows);
    return rows * (4 * config_.hidden_size + config_.head_dim) +
           tile * (2 * config_.hidden_size + config_.inner_hidden_size);
  }
  void check_input(const PromptInput& input, const KvCache& cache) const;
  /// Tokens before <sop>, whose place and that of [gMASK] are checked.
  std::int64_t context_length(std::span<const TokenId> ids) const;
  void size_workspace(std::int64_t rows);
  void embed_token(TokenId id, std::int64_t row) const;
  /// Tells a row's position: token number `place` of a sequence.
  void put_position(std::int64_t row, std::int64_t place, std::int64_t context);
  std::int64_t sequences() const { return static_cast<std::int64_t>(caches_.size()); }
  /// All layers over the rows in x_, which belong to the sequences of caches_: all to one, or one
  /// row to each. The first `context` rows see one another. `logits` [caches_.size(), vocab_size]
  /// of the last row of each, unless the view is empty.
  void forward(std::int64_t context, TensorView<float> logits, const CancelToken* cancel);
  /// q, k and v of all rows, in qkv_ and the caches; x_ becomes its norm times alpha.
  void project_qkv(const LayerWeights& layer, std::int64_t index);
  void turn(std::int64_t part);
  /// What follows attention's keys and values, for these rows.
  void finish_layer(const LayerWeights& layer, std::int64_t index, std::int64_t context,
                    std::int64_t first_row, std::int64_t rows);
  void attend(std::int64_t index, std::int64_t context, std::int64_t first_row, std::int64_t rows);
  /// Rows of one sequence over its first n_k positions, into attention_ from row `to` on.
  void attend_sequence(std::int64_t index, std::int64_t first_row, std::int64_t rows,
                       std::int64_t to, const KvCache& cache, std::int64_t n_k, bool causal);
  /// normed = layer_norm(x), x = alpha * normed.
  void normalise(const LayerNorm& norm, TensorView<float> x, TensorView<float> normed) const;

  const DecoderConfig config_;
  const DecoderChecks checks_{config_.vocab_size};
  const std::shared_ptr<const Checkpoint> checkpoint_;   // holds word_embeddings' bytes
  const std::shared_ptr<const DecoderWeights> weights_;  // of all replicas
  const kernels::ComputeType type_;
  const std::vector<float> inv_freq_;  // [head_dim / 2]

  AlignedBuffer<float> storage_;
  TensorView<float> x_;                  // [n, hidden_size], the residual
  TensorView<float> qkv_;                // [n, heads * 3 * head_dim]
  TensorView<float> cos_, sin_;          // [n, head_dim / 2]: by position, then by block
  TensorView<float> normed_;             // [tile, hidden_size]
  TensorView<float> attention_;          // [tile, hidden_size]
  TensorView<float> hidden_;             // [tile, inner_hidden_size]
  std::vector<std::int64_t> positions_;  // [3, n]: position, block, nothing
  std::vector<KvCache*> caches_;         // of the forward pass under way
};

void ChatGlmDecoder::size_workspace(std::int64_t rows) {
  const auto floats = static_cast<std::size_t>(workspace_floats(rows));
  if (floats > storage_.size()) storage_ = AlignedBuffer<float>(floats);
  positions_.resize(static_cast<std::size_t>(3 * rows));
  float* next = storage_.data();
  const auto take = [&](std::int64_t n, std::int64_t width) {
    const TensorView<float> view(next, {n, width});
    next += n * width;
    return view;
  };
  x_ = take(rows, config_.hidden_size);
  qkv_ = take(rows, 3 * config_.hidden_size);
  cos_ = take(rows, config_.head_dim / 2);
  sin_ = take(rows, config_.head_dim / 2);
  const std::int64_t tile = std::min(rows, kTileRows);
  normed_ = take(tile, config_.hidden_size);
  attention_ = take(tile, config_.hidden_size);
  hidden_ = take(tile, config_.inner_hidden_size);
}

void ChatGlmDecoder::check_input(const PromptInput& input, const KvCache& cache) const {
  const auto n = static_cast<std::int64_t>(input.ids.size());
  if (n > prefill_rows()) {
    throw_error(ErrorCode::kLimit, "the prompt has {} tokens, max_sequence_length is {}", n,
                prefill_rows());
  }
  if (cache.length() == 0 && input.prompt_length > n) {
    throw_error(ErrorCode::kInvalidArgument,
                "{} tokens of a prompt of {} came, expected all: what is before <sop> sees what "
                "follows",
                n, input.prompt_length);
  }
  checks_.prompt(input);
  if (!input.vision_embeds.empty()) {
    throw_error(ErrorCode::kInvalidArgument, "the prompt has 0 vision tokens, {} rows were given",
                input.vision_embeds.size(0));
  }
}

std::int64_t ChatGlmDecoder::context_length(std::span<const TokenId> ids) const {
  const auto* const sop = std::find(ids.data(), ids.data() + ids.size(), config_.bos_token_id);
  if (sop == ids.data() + ids.size()) return std::ssize(ids) - 1;
  const std::int64_t context = sop - ids.data();
  const auto* const mask = std::find(ids.data(), sop, config_.gmask_token_id);
  if (mask + 1 != sop) {
    throw_error(ErrorCode::kInvalidArgument,
                "token {} of the prompt is <sop>, expected [gMASK] before it and nowhere else",
                context);
  }
  return context;
}

void ChatGlmDecoder::embed_token(TokenId id, std::int64_t row) const {
  layers::copy_elements(weights_->word_embeddings, id * config_.hidden_size, config_.hidden_size,
                        x_.row(row));
}

void ChatGlmDecoder::put_position(std::int64_t row, std::int64_t place, std::int64_t context) {
  const auto [position, block] = position_of(place, context);
  const auto n = static_cast<std::size_t>(x_.size(0));
  positions_[static_cast<std::size_t>(row)] = position;
  positions_[n + static_cast<std::size_t>(row)] = block;
}

void ChatGlmDecoder::prefill(const PromptInput& input, KvCache& cache, TensorView<float> logits,
                             const CancelToken* cancel) {
  check_input(input, cache);
  if (!logits.empty()) checks_.logits(logits.numel());
  const auto n = static_cast<std::int64_t>(input.ids.size());
  DecoderChecks::room(n, cache);
  const bool begins = cache.length() == 0;
  const std::int64_t context = begins ? context_length(input.ids) : context_of(cache);
  size_workspace(n);
  caches_.assign(1, &cache);
  {
    TraceSpan span("merge");
    for (std::int64_t i = 0; i < n; ++i) {
      embed_token(input.ids[static_cast<std::size_t>(i)], i);
      put_position(i, cache.length() + i, context);
    }
  }
  if (!logits.empty()) logits = {logits.data(), {1, config_.vocab_size}};
  forward(begins ? context : 0, logits, cancel);
  if (begins) cache.set_prompt_length(context + 1);
}

void ChatGlmDecoder::step_batch(std::span<const BatchRow> rows, TensorView<float> logits) {
  checks_.batch(rows, logits, prefill_rows());
  size_workspace(std::ssize(rows));
  caches_.resize(rows.size());
  {
    TraceSpan span("merge");
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const auto row = static_cast<std::int64_t>(i);
      caches_[i] = rows[i].cache;
      embed_token(rows[i].token, row);
      put_position(row, caches_[i]->length(), context_of(*caches_[i]));
    }
  }
  forward(0, logits, nullptr);
}

void ChatGlmDecoder::normalise(const LayerNorm& norm, TensorView<float> x,
                               TensorView<float> normed) const {
  TraceSpan span("llm.norm");
  kernels::layer_norm(x, norm.weight.data(), norm.bias.data(),
                      static_cast<float>(config_.layernorm_epsilon), normed);
  const auto alpha = static_cast<float>(std::sqrt(kResidual));
  parallel_for(x.size(0), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const float* from = normed.row(i);
      float* to = x.row(i);
      for (std::int64_t j = 0; j < config_.hidden_size; ++j) to[j] = alpha * from[j];
    }
  });
}

void ChatGlmDecoder::turn(std::int64_t part) {
  const std::int64_t d = config_.head_dim;
  // The first half of a head turns with the position, the second with the block.
  for (std::int64_t half = 0; half < 2; ++half) {
    const std::int64_t angles = half * (d / 4);
    const auto table = [&](TensorView<float> of) {
      return TensorView<const float>(of.data() + angles, {of.size(0), d / 4}, {of.stride(0), 1});
    };
    kernels::rotary({qkv_.data() + part * d + half * (d / 2),
                     {qkv_.size(0), config_.num_attention_heads, d / 2},
                     {qkv_.stride(0), 3 * d, 1}},
                    table(cos_), table(sin_));
  }
}

void ChatGlmDecoder::project_qkv(const LayerWeights& layer, std::int64_t index) {
  const std::int64_t n = x_.size(0);
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t d = config_.head_dim;
  for (std::int64_t first = 0; first < n; first += kTileRows) {
    const std::int64_t rows = std::min(kTileRows, n - first);
    const TensorView<float> normed = rows_of(normed_, 0, rows);
    normalise(layer.input_layernorm, rows_of(x_, first, rows), normed);
    TraceSpan span("llm.qkv");
    layer.query_key_value.forward(normed, rows_of(qkv_, first, rows));
  }
  {
    TraceSpan span("llm.rotary");
    for (const std::int64_t part : {0, 1}) turn(part);  // queries and keys
  }
  const std::int64_t stride = qkv_.stride(0);
  const float* keys = qkv_.data() + d;
  write_kv(caches_, index, {keys, {n, heads, d}, {stride, 3 * d, 1}},
           {keys + d, {n, heads, d}, {stride, 3 * d, 1}});
}

void ChatGlmDecoder::attend(std::int64_t index, std::int64_t context, std::int64_t first_row,
                            std::int64_t rows) {
  TraceSpan span("llm.attention");
  if (sequences() > 1) {
    for (std::int64_t i = first_row; i < first_row + rows; ++i) {
      const KvCache& cache = *caches_[static_cast<std::size_t>(i)];
      attend_sequence(index, i, 1, i - first_row, cache, cache.length() + 1, true);
    }
    return;
  }
  const KvCache& cache = *caches_.front();
  const std::int64_t both = std::clamp<std::int64_t>(context - first_row, 0, rows);
  if (both > 0) attend_sequence(index, first_row, both, 0, cache, context, false);
  if (both == rows) return;
  attend_sequence(index, first_row + both, rows - both, both, cache,
                  cache.length() + first_row + rows, true);
}

void ChatGlmDecoder::attend_sequence(std::int64_t index, std::int64_t first_row, std::int64_t rows,
                                     std::int64_t to, const KvCache& cache, std::int64_t n_k,
                                     bool causal) {
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t d = config_.head_dim;
  // query_key_layer_scaling_coeff divides the queries and multiplies the scores: it is nothing.
  attend_cached({qkv_.row(first_row), {rows, heads, d}, {qkv_.stride(0), 3 * d, 1}}, cache, index,
                n_k, {attention_.row(to), {rows, heads, d}}, causal, type_);
}

void ChatGlmDecoder::finish_layer(const LayerWeights& layer, std::int64_t index,
                                  std::int64_t context, std::int64_t first_row, std::int64_t rows) {
  const TensorView<float> x = rows_of(x_, first_row, rows);
  const TensorView<float> normed = rows_of(normed_, 0, rows);
  attend(index, context, first_row, rows);
  {
    TraceSpan span("llm.o_proj");
    layer.dense.forward(rows_of(attention_, 0, rows), x, kernels::Activation::kNone, true);
  }
  normalise(layer.post_attention_layernorm, x, normed);
  TraceSpan span("llm.mlp");
  const TensorView<float> hidden = rows_of(hidden_, 0, rows);
  layer.dense_h_to_4h.forward(normed, hidden, kernels::Activation::kGeluTanh);
  layer.dense_4h_to_h.forward(hidden, x, kernels::Activation::kNone, true);
}

void ChatGlmDecoder::forward(std::int64_t context, TensorView<float> logits,
                             const CancelToken* cancel) {
  const std::int64_t n = x_.size(0);
  REELM_CHECK(sequences() == 1 || sequences() == n);
  {
    TraceSpan span("llm.rotary");
    const std::array<std::int64_t, 2> section = {config_.head_dim / 4, config_.head_dim / 4};
    mrope_table({positions_.data(), {3, n}}, inv_freq_, section, cos_, sin_);
  }
  const auto num_layers = std::ssize(weights_->layers);
  for (std::int64_t index = 0; index < num_layers; ++index) {
    if (cancel != nullptr) cancel->check();
    const LayerWeights& layer = weights_->layers[static_cast<std::size_t>(index)];
    const TimelineSpan layer_span("llm.layer", SpanKind::kLayer, {"layer", index});
    project_qkv(layer, index);
    // Behind the last layer's keys and values only the last row of a sequence matters, and only if
    // it is asked for.
    const bool last_layer = index + 1 == num_layers;
    if (last_layer && logits.empty()) break;
    const std::int64_t first_row = last_layer ? n - sequences() : 0;
    for (std::int64_t first = first_row; first < n; first += kTileRows) {
      finish_layer(layer, index, context, first, std::min(kTileRows, n - first));
    }
    LayerTap::show(LayerTap::Part::kDecoder, index, rows_of(x_, first_row, n - first_row));
  }
  for (KvCache* cache : caches_) cache->advance(n / sequences());
  if (logits.empty()) return;
  const std::int64_t first_row = n - sequences();
  for (std::int64_t first = first_row; first < n; first += kTileRows) {
    const std::int64_t rows = std::min(kTileRows, n - first);
    const TensorView<float> normed = rows_of(normed_, 0, rows);
    {
      TraceSpan span("llm.norm");
      kernels::layer_norm(rows_of(x_, first, rows), weights_->final_layernorm.weight.data(),
                          weights_->final_layernorm.bias.data(),
                          static_cast<float>(config_.layernorm_epsilon), normed);
    }
    TraceSpan span("llm.lm_head");
    weights_->lm_head.forward(
        normed, {logits.row(first - first_row), {rows, logits.size(1)}, {logits.stride(0), 1}});
  }
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type) {
  return std::make_unique<ChatGlmDecoder>(
      config, reader.checkpoint(),
      std::make_shared<const DecoderWeights>(load_decoder_weights(reader, config, type)), type);
}

}  // namespace reelm::llm::chatglm
