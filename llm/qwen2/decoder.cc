#include "llm/qwen2/decoder.h"

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "core/layer_tap.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "core/trace.h"
#include "kernels/norm.h"
#include "kernels/rotary.h"
#include "llm/cached_attention.h"
#include "llm/decoder_checks.h"
#include "llm/position_encoding.h"
#include "llm/qwen2/weights.h"

namespace reelm::llm::qwen2 {

namespace {

// Rows of a prompt done at a time: bounds the workspace whatever the prompt's length (the 2B
// model's hidden rows of the MLP are 18 MB for 512) and is enough rows for matrix products to run
// at full speed.
constexpr std::int64_t kPrefillRows = 512;

TensorView<const float> rows_from(TensorView<const float> view, std::int64_t first) {
  return {view.row(first), {view.size(0) - first, view.size(1)}, {view.stride(0), 1}};
}

class Qwen2Decoder final : public Decoder {
 public:
  Qwen2Decoder(const DecoderConfig& config, std::shared_ptr<const Checkpoint> checkpoint,
               std::shared_ptr<const DecoderWeights> weights,
               std::shared_ptr<const PositionEncoding> encoding, kernels::ComputeType type)
      : config_(config),
        checkpoint_(std::move(checkpoint)),
        weights_(std::move(weights)),
        encoding_(std::move(encoding)),
        type_(type) {}

  std::unique_ptr<Decoder> replica() const override {
    return std::make_unique<Qwen2Decoder>(config_, checkpoint_, weights_, encoding_, type_);
  }
  std::int64_t vocab_size() const override { return config_.vocab_size; }
  std::int64_t hidden_size() const override { return config_.hidden_size; }
  std::int64_t max_position_embeddings() const override { return config_.max_position_embeddings; }
  KvCache::Shape kv_shape() const override {
    return {config_.num_hidden_layers, config_.num_key_value_heads, config_.head_dim};
  }
  KvType kv_type() const override {
    return type_ == kernels::ComputeType::kF32 ? KvType::kF32 : KvType::kBF16;
  }
  bool goes_on(const KvCache& cache, std::int64_t length) const override {
    return cache.length() == 0 || encoding_->same_angles(cache.prompt_length(), length);
  }
  std::int64_t prefill_rows() const override { return kPrefillRows; }
  std::size_t weight_bytes() const override { return weights_->size_bytes(); }
  std::size_t workspace_bytes() const override {
    return sizeof(float) * static_cast<std::size_t>(kPrefillRows * row_floats());
  }

  void prefill(const PromptInput& input, KvCache& cache, TensorView<float> logits,
               const CancelToken* cancel) override;
  void step_batch(std::span<const BatchRow> rows, TensorView<float> logits) override;

 private:
  std::int64_t q_dim() const { return config_.num_attention_heads * config_.head_dim; }
  std::int64_t kv_dim() const { return config_.num_key_value_heads * config_.head_dim; }
  /// Workspace floats a row takes: x, normed, delta, qkv, attention, hidden of the MLP, cos and
  /// sin.
  std::int64_t row_floats() const {
    return 3 * config_.hidden_size + 2 * q_dim() + 2 * kv_dim() + config_.intermediate_size +
           config_.head_dim;
  }
  std::int64_t vision_width() const { return (1 + config_.deepstack_layers) * config_.hidden_size; }
  void check_input(const PromptInput& input) const;
  void size_workspace(std::int64_t rows);
  void embed_token(TokenId id, float* out) const;
  /// Writes token rows and the first of `vision` to x_; notes which came from there.
  void embed(std::span<const TokenId> ids, TensorView<const float> vision);
  std::int64_t sequences() const { return static_cast<std::int64_t>(caches_.size()); }
  /// All layers over the rows in x_, which belong to the sequences of caches_: all to one, or one
  /// row to each. `logits` [caches_.size(), vocab_size] of the last row of each, unless the view is
  /// empty.
  void forward(TensorView<const std::int64_t> position_ids, TensorView<float> logits,
               const CancelToken* cancel);
  void project_qkv(const LayerWeights& layer, std::int64_t index,
                   TensorView<const std::int64_t> position_ids);
  /// Of all rows from first_row on.
  void attend(std::int64_t index, std::int64_t first_row);
  /// Of these rows, all of one sequence and its last.
  void attend_sequence(std::int64_t index, std::int64_t first_row, std::int64_t rows,
                       const KvCache& cache);
  void feed_forward(const LayerWeights& layer, std::int64_t first_row);
  /// Adds what vision rows bring for the layer to delta_, from first_row on.
  void add_deepstack(std::int64_t index, std::int64_t first_row);

  bool is_vision(TokenId id) const {
    return id == config_.vision_tokens.image || id == config_.vision_tokens.video;
  }

  const DecoderConfig config_;
  const DecoderChecks checks_{config_.vocab_size};
  const std::shared_ptr<const Checkpoint> checkpoint_;   // holds embed_tokens' bytes
  const std::shared_ptr<const DecoderWeights> weights_;  // of all replicas
  const std::shared_ptr<const PositionEncoding> encoding_;
  const kernels::ComputeType type_;

  AlignedBuffer<float> storage_;
  std::int64_t storage_rows_ = 0;
  TensorView<float> x_;          // [n, hidden_size], the residual
  TensorView<float> normed_;     // [n, hidden_size]
  TensorView<float> delta_;      // [n, hidden_size], what is added to the residual next
  TensorView<float> qkv_;        // [n, q_dim + 2 * kv_dim]
  TensorView<float> attention_;  // [n, q_dim]
  TensorView<float> hidden_;     // [n, intermediate_size], silu(gate) * up
  TensorView<float> cos_, sin_;  // [n, head_dim / 2]
  std::vector<std::int64_t> step_positions_;  // [3, rows] of a batched step
  std::vector<KvCache*> caches_;              // of the forward pass under way
  std::vector<std::int64_t> vision_rows_;     // of x_: those that came from a tower, in order
  TensorView<const float> vision_;            // the first of its rows are those
};

void Qwen2Decoder::size_workspace(std::int64_t rows) {
  if (rows > storage_rows_) {
    storage_ = AlignedBuffer<float>(static_cast<std::size_t>(rows * row_floats()));
    storage_rows_ = rows;
  }
  float* next = storage_.data();
  const auto take = [&](std::int64_t width) {
    const TensorView<float> view(next, {rows, width});
    next += rows * width;
    return view;
  };
  x_ = take(config_.hidden_size);
  normed_ = take(config_.hidden_size);
  delta_ = take(config_.hidden_size);
  qkv_ = take(q_dim() + 2 * kv_dim());
  attention_ = take(q_dim());
  hidden_ = take(config_.intermediate_size);
  cos_ = take(config_.head_dim / 2);
  sin_ = take(config_.head_dim / 2);
}

void Qwen2Decoder::check_input(const PromptInput& input) const {
  checks_.prompt(input);
  const std::int64_t vision =
      std::count_if(input.ids.begin(), input.ids.end(), [&](TokenId id) { return is_vision(id); });
  const std::int64_t rows = input.vision_embeds.empty() ? 0 : input.vision_embeds.size(0);
  if (rows != vision) {
    throw_error(ErrorCode::kInvalidArgument, "the prompt has {} vision tokens, {} rows were given",
                vision, rows);
  }
  if (rows > 0 && input.vision_embeds.size(1) != vision_width()) {
    throw_error(ErrorCode::kInvalidArgument, "vision rows have {} values, expected {}",
                input.vision_embeds.size(1), vision_width());
  }
}

void Qwen2Decoder::embed_token(TokenId id, float* out) const {
  layers::copy_elements(weights_->embed_tokens, id * config_.hidden_size, config_.hidden_size, out);
}

void Qwen2Decoder::embed(std::span<const TokenId> ids, TensorView<const float> vision) {
  vision_ = vision;
  vision_rows_.clear();
  for (std::size_t i = 0; i < ids.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    if (is_vision(ids[i])) {
      std::memcpy(x_.row(row), vision.row(std::ssize(vision_rows_)),
                  static_cast<std::size_t>(config_.hidden_size) * sizeof(float));
      vision_rows_.push_back(row);
    } else {
      embed_token(ids[i], x_.row(row));
    }
  }
}

void Qwen2Decoder::prefill(const PromptInput& input, KvCache& cache, TensorView<float> logits,
                           const CancelToken* cancel) {
  check_input(input);
  if (!logits.empty()) checks_.logits(logits.numel());
  const auto n = static_cast<std::int64_t>(input.ids.size());
  DecoderChecks::room(n, cache);
  caches_.assign(1, &cache);
  const std::int64_t length_before = cache.length();
  if (length_before == 0) cache.set_prompt_length(std::max(n, input.prompt_length));
  TensorView<const float> vision = input.vision_embeds;
  try {
    for (std::int64_t first = 0; first < n; first += kPrefillRows) {
      const std::int64_t rows = std::min(kPrefillRows, n - first);
      size_workspace(rows);
      {
        TraceSpan span("merge");
        embed(input.ids.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(rows)),
              vision);
        if (!vision_rows_.empty()) vision = rows_from(vision, std::ssize(vision_rows_));
      }
      const TensorView<const std::int64_t> positions(input.position_ids.data() + first, {3, rows},
                                                     {input.position_ids.stride(0), 1});
      const bool last = first + rows == n && !logits.empty();
      forward(
          positions,
          last ? TensorView<float>(logits.data(), {1, config_.vocab_size}) : TensorView<float>(),
          cancel);
    }
  } catch (...) {
    cache.truncate(length_before);
    throw;
  }
}

void Qwen2Decoder::step_batch(std::span<const BatchRow> rows, TensorView<float> logits) {
  checks_.batch(rows, logits, kPrefillRows);
  const auto n = static_cast<std::int64_t>(rows.size());
  size_workspace(n);
  caches_.resize(rows.size());
  step_positions_.resize(3 * rows.size());
  vision_rows_.clear();
  TensorView<std::int64_t> positions(step_positions_.data(), {3, n});
  {
    TraceSpan span("merge");
    for (std::int64_t i = 0; i < n; ++i) {
      const BatchRow& row = rows[static_cast<std::size_t>(i)];
      // A placeholder that the model itself chose is a token like any other, as in the reference.
      embed_token(row.token, x_.row(i));
      caches_[static_cast<std::size_t>(i)] = row.cache;
      for (std::int64_t part = 0; part < 3; ++part) positions.row(part)[i] = row.position;
    }
  }
  forward(positions, logits, nullptr);
}

void Qwen2Decoder::project_qkv(const LayerWeights& layer, std::int64_t index,
                               TensorView<const std::int64_t> position_ids) {
  const std::int64_t n = x_.size(0);
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t kv_heads = config_.num_key_value_heads;
  const std::int64_t d = config_.head_dim;
  const std::int64_t stride = qkv_.stride(0);
  {
    TraceSpan span("llm.qkv");
    layer.qkv.forward(normed_, qkv_);
  }
  if (layer.q_norm.size() != 0) {
    TraceSpan span("llm.norm");
    const auto eps = static_cast<float>(config_.rms_norm_eps);
    kernels::head_rms_norm({qkv_.data(), {n, heads, d}, {stride, d, 1}}, layer.q_norm.data(), eps);
    kernels::head_rms_norm({qkv_.data() + q_dim(), {n, kv_heads, d}, {stride, d, 1}},
                           layer.k_norm.data(), eps);
  }
  {
    TraceSpan span("llm.rotary");
    // Keys follow the queries in a row and turn by the same angles: one call for both.
    kernels::rotary({qkv_.data(), {n, heads + kv_heads, d}, {stride, d, 1}}, cos_, sin_);
    encoding_->scale_queries(position_ids, {qkv_.data(), {n, heads, d}, {stride, d, 1}});
  }
  const float* keys = qkv_.data() + q_dim();
  write_kv(caches_, index, {keys, {n, kv_heads, d}, {stride, d, 1}},
           {keys + kv_dim(), {n, kv_heads, d}, {stride, d, 1}});
}

void Qwen2Decoder::attend(std::int64_t index, std::int64_t first_row) {
  TraceSpan span("llm.attention");
  const std::int64_t rows = (x_.size(0) - first_row) / sequences();
  for (const KvCache* cache : caches_) {
    attend_sequence(index, first_row, rows, *cache);
    first_row += rows;
  }
}

void Qwen2Decoder::attend_sequence(std::int64_t index, std::int64_t first_row, std::int64_t rows,
                                   const KvCache& cache) {
  // The last layer may have fewer rows to attend with, but all are in the cache.
  const std::int64_t n_k = cache.length() + x_.size(0) / sequences();
  const std::int64_t heads = config_.num_attention_heads;
  const std::int64_t d = config_.head_dim;
  attend_cached({qkv_.row(first_row), {rows, heads, d}, {qkv_.stride(0), d, 1}}, cache, index, n_k,
                {attention_.row(first_row), {rows, heads, d}}, /*causal=*/true, type_);
}

void Qwen2Decoder::feed_forward(const LayerWeights& layer, std::int64_t first_row) {
  TraceSpan span("llm.mlp");
  const std::int64_t rows = x_.size(0) - first_row;
  const std::int64_t width = config_.intermediate_size;
  const TensorView<float> normed(normed_.row(first_row), {rows, config_.hidden_size});
  const TensorView<float> delta(delta_.row(first_row), {rows, config_.hidden_size});
  const TensorView<float> hidden(hidden_.row(first_row), {rows, width});
  layer.gate_up.forward_gated(normed, hidden);
  layer.down_proj.forward(hidden, delta);
}

void Qwen2Decoder::add_deepstack(std::int64_t index, std::int64_t first_row) {
  if (index >= config_.deepstack_layers || vision_rows_.empty()) return;
  TraceSpan span("llm.deepstack");
  const std::int64_t hidden = config_.hidden_size;
  parallel_for(std::ssize(vision_rows_), 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t row = vision_rows_[static_cast<std::size_t>(i)];
      if (row < first_row) continue;
      const float* from = vision_.row(i) + (index + 1) * hidden;
      float* to = delta_.row(row);
      for (std::int64_t j = 0; j < hidden; ++j) to[j] += from[j];
    }
  });
}

void Qwen2Decoder::forward(TensorView<const std::int64_t> position_ids, TensorView<float> logits,
                           const CancelToken* cancel) {
  const std::int64_t n = x_.size(0);
  REELM_CHECK(sequences() == 1 || sequences() == n);
  const auto eps = static_cast<float>(config_.rms_norm_eps);
  {
    TraceSpan span("llm.rotary");
    encoding_->table(position_ids, caches_, cos_, sin_);
  }
  const auto add_norm = [&](TensorView<float> x, TensorView<float> delta, const float* weight,
                            TensorView<float> out) {
    TraceSpan span("llm.norm");
    kernels::add_rms_norm(x, delta, weight, eps, out);
  };
  {
    TraceSpan span("llm.norm");
    kernels::rms_norm(x_, weights_->layers[0].input_layernorm.data(), eps, normed_);
  }
  for (std::size_t l = 0; l < weights_->layers.size(); ++l) {
    if (cancel != nullptr) cancel->check();
    const LayerWeights& layer = weights_->layers[l];
    const auto index = static_cast<std::int64_t>(l);
    const TimelineSpan layer_span("llm.layer", SpanKind::kLayer, {"layer", index});
    project_qkv(layer, index, position_ids);
    // Behind the last layer's keys and values only the last row of a sequence matters, and only if
    // it is asked for.
    const bool last_layer = l + 1 == weights_->layers.size();
    if (last_layer && logits.empty()) break;
    const std::int64_t first_row = last_layer ? n - sequences() : 0;
    const auto rows_of = [&](TensorView<float> view) {
      return TensorView<float>(view.row(first_row), {n - first_row, view.size(1)});
    };
    attend(index, first_row);
    {
      TraceSpan span("llm.o_proj");
      layer.o_proj.forward(rows_of(attention_), rows_of(delta_));
    }
    add_norm(rows_of(x_), rows_of(delta_), layer.post_attention_layernorm.data(), rows_of(normed_));
    feed_forward(layer, first_row);
    add_deepstack(index, first_row);
    const float* next_norm =
        last_layer ? weights_->norm.data() : weights_->layers[l + 1].input_layernorm.data();
    add_norm(rows_of(x_), rows_of(delta_), next_norm, rows_of(normed_));
    LayerTap::show(LayerTap::Part::kDecoder, index, rows_of(x_));
  }
  for (KvCache* cache : caches_) cache->advance(n / sequences());
  if (logits.empty()) return;
  TraceSpan span("llm.lm_head");
  weights_->lm_head.forward({normed_.row(n - sequences()), {sequences(), config_.hidden_size}},
                            logits);
}

}  // namespace

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type) {
  return make_decoder(config, reader.checkpoint(), load_decoder_weights(reader, config, type),
                      std::make_shared<const MropeEncoding>(config.rope_theta, config.head_dim,
                                                            config.mrope_section),
                      type);
}

std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      std::shared_ptr<const Checkpoint> checkpoint,
                                      DecoderWeights weights,
                                      std::shared_ptr<const PositionEncoding> positions,
                                      kernels::ComputeType type) {
  return std::make_unique<Qwen2Decoder>(config, std::move(checkpoint),
                                        std::make_shared<const DecoderWeights>(std::move(weights)),
                                        std::move(positions), type);
}

}  // namespace reelm::llm::qwen2
