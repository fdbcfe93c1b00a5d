#include "bench/workload.h"

#include <algorithm>
#include <numeric>

#include "bench/clock.h"
#include "core/checked.h"
#include "core/throw.h"
#include "llm/sampler.h"
#include "pipeline/prompt_prefill.h"
#include "preprocess/patch_reader.h"

namespace reelm::bench {

namespace {

// Words around the vision tokens where nobody says how many: a question.
constexpr std::int64_t kQuestionTokens = 64;
constexpr std::int64_t kDefaultPrompt = 512;  // as llama-bench -p 512

/// The same spans are traced in a prompt and in a step; `stage` says which it was.
std::string stage_name(const std::string& stage, const std::string& traced) {
  constexpr std::string_view kDecoder = "llm.";
  return traced.starts_with(kDecoder) ? stage + traced.substr(kDecoder.size() - 1) : traced;
}

class Runner {
 public:
  Runner(pipeline::Model& model, const pipeline::SyntheticSizes& sizes, const Workload& workload,
         const Limits& limits)
      : model_(model), sizes_(sizes), workload_(workload), limits_(limits) {}

  Measured run();

 private:
  bool has_media() const { return !workload_.media.empty(); }
  llm::KvType kv_type() const { return workload_.kv_dtype.value_or(model_.decoder->kv_type()); }
  /// Scales counted in.
  double kv_element_bytes() const {
    const llm::KvCache::Shape shape = model_.decoder->kv_shape();
    const std::int64_t elements = 2 * shape.num_layers * shape.num_key_value_heads * shape.head_dim;
    return static_cast<double>(shape.bytes_per_position(kv_type())) / static_cast<double>(elements);
  }
  /// The grid of the medium, the costs of its frames; nothing for a text model.
  void plan();
  void size_prompt();
  void add_costs();
  void repetition(llm::KvCache& cache);
  void encode_media();
  void encode_grid();
  void encode(const PatchBatch& slice, std::int64_t index);
  void add(const std::string& stage, double ms);
  void add_trace(const std::string& stage, const Trace& trace);

  pipeline::Model& model_;
  const pipeline::SyntheticSizes& sizes_;
  const Workload& workload_;
  const Limits& limits_;
  Measured out_;
  std::map<std::string, std::vector<double>> samples_;
  Trace vision_trace_;  // of the repetition under way
  double vit_ms_ = 0.0;
  bool is_image_ = false;
  AlignedBuffer<float> pixels_;  // of one slice, for a grid
  AlignedBuffer<float> embeds_;  // [vision_tokens, PromptPrefill::row_size]
  Prompt prompt_;
};

void Runner::add(const std::string& stage, double ms) { samples_[stage].push_back(ms); }

void Runner::add_trace(const std::string& stage, const Trace& trace) {
  for (const auto& [name, total] : trace.totals()) {
    const bool of_prompt = stage == "prefill" || name != "merge";  // a step's is one row
    if (of_prompt) add(stage_name(stage, name), total.milliseconds);
  }
}

void Runner::plan() {
  if (model_.vision == nullptr) {
    if (has_media()) model_.check_takes_media(workload_.media);
    return;
  }
  out_.grid = workload_.grid;
  if (has_media()) {
    preprocess::Media media(preprocess::MediaSource::from_argument(workload_.media), limits_);
    const auto plan = preprocess::plan_media(media, model_.preprocessor, {}, limits_);
    is_image_ = plan.is_image;
    out_.grid = plan.grid_thw;
    out_.warnings = plan.warnings;
    FrameSizes frames;
    frames.taken = is_image_ ? 1 : std::ssize(plan.frame_indices);
    frames.decoded = is_image_ ? 1 : plan.frame_indices.back() - plan.frame_indices.front() + 1;
    frames.source_height = plan.source.height;
    frames.source_width = plan.source.width;
    frames.height = plan.resized.height;
    frames.width = plan.resized.width;
    out_.costs = frame_costs(frames);
  }
  out_.vision_tokens = count_vision_tokens(model_, out_.grid, limits_);
  if (!has_media()) {
    pixels_ = made_up_pixels(out_.grid[1] * out_.grid[2] * model_.vision->patch_dim());
  }
}

void Runner::size_prompt() {
  out_.prompt_tokens = choose_prompt_tokens(model_, workload_, out_.vision_tokens);
  embeds_ = AlignedBuffer<float>(
      static_cast<std::size_t>(out_.vision_tokens * pipeline::PromptPrefill::row_size(model_)));
}

void Runner::add_costs() {
  using pipeline::Dtype;
  const auto bytes = [](Dtype dtype) {
    return kernels::bits_per_weight(pipeline::compute_type(dtype)) / 8.0;
  };
  const auto kept = [&](Dtype dtype, Dtype quantised) {
    // The head of a Q8_0 file is Q8_0; that of a Q4_0 file is not, as llama-quantize writes them.
    const bool other = dtype == Dtype::kInt8 || dtype == Dtype::kInt4 || dtype == Dtype::kQ4_0;
    return other ? bytes(quantised) : bytes(dtype);
  };
  const auto& tensors = model_.checkpoint->tensors();
  const Formats decoder = {
      .weight_bytes = bytes(model_.dtypes.decoder),
      .kv_bytes = kv_element_bytes(),
      .embedding_bytes =
          tensors.empty() ? 4.0 : static_cast<double>(dtype_size(tensors.front().dtype)),
      .kept_bytes = kept(model_.dtypes.decoder, Dtype::kInt8)};
  Formats vision = decoder;
  vision.weight_bytes = bytes(model_.dtypes.vision);
  vision.kept_bytes = kept(model_.dtypes.vision, Dtype::kBF16);
  const auto append = [&](const StageCosts& costs) {
    out_.costs.insert(out_.costs.end(), costs.begin(), costs.end());
  };
  if (model_.vision != nullptr) {
    std::visit([&](const auto& tower) { append(vision_costs(tower, out_.grid, vision)); },
               sizes_.vision);
  }
  const DecoderWork work = decoder_work(sizes_.decoder_kind);
  append(prefill_costs(sizes_.decoder, out_.prompt_tokens, decoder, work));
  append(sampling_costs(sizes_.decoder.vocab_size));
  // Step i (from 0) attends to prompt + i + 1 positions.
  const double context =
      static_cast<double>(out_.prompt_tokens) + (static_cast<double>(workload_.new_tokens) + 1) / 2;
  append(decode_costs(sizes_.decoder, context, decoder, work));
}

void Runner::encode(const PatchBatch& slice, std::int64_t index) {
  const std::int64_t width = pipeline::PromptPrefill::row_size(model_);
  const std::int64_t rows = out_.vision_tokens / out_.grid[0];
  const Trace::Scope scope(&vision_trace_);
  const TimelineSpan span("vit", SpanKind::kStage, {"slice", index});
  const auto begin = Clock::now();
  model_.vision->encode(slice, {embeds_.data() + index * rows * width, {rows, width}}, nullptr);
  vit_ms_ += ms_since(begin);
}

void Runner::encode_media() {
  preprocess::Media media(preprocess::MediaSource::from_argument(workload_.media), limits_);
  auto plan = preprocess::plan_media(media, model_.preprocessor, {}, limits_);
  if (plan.grid_thw != out_.grid) {
    throw_error(ErrorCode::kInvalidArgument, "{}: changed while it was measured", workload_.media);
  }
  preprocess::PatchReader reader(media, std::move(plan), model_.preprocessor, limits_);
  PatchBatch slice;
  std::int64_t index = 0;
  for (; reader.next(slice); ++index) encode(slice, index);
  REELM_CHECK(index == out_.grid[0]);
  const preprocess::StageTimes times = reader.times();
  add("open", media.open_ms());
  add("scan", media.scan_ms());
  add("seek", times.seek);
  add("decode", times.decode);
  add("convert", times.convert);
  add("resize", times.resize);
  add("patchify", times.patchify);
}

void Runner::encode_grid() {
  const auto [t, h, w] = out_.grid;
  const PatchBatch slice = {{pixels_.data(), {h * w, model_.vision->patch_dim()}}, {1, h, w}};
  for (std::int64_t i = 0; i < t; ++i) encode(slice, i);
}

void Runner::repetition(llm::KvCache& cache) {
  const TimelineSpan whole("repetition", SpanKind::kStage);
  const std::int64_t n = out_.prompt_tokens;
  const std::int64_t vocabulary = model_.decoder->vocab_size();
  AlignedBuffer<float> storage(static_cast<std::size_t>(vocabulary));
  const TensorView<float> logits(storage.data(), {vocabulary});
  llm::Sampler sampler(model_.generation.sampling, vocabulary);
  cache.truncate(0);
  vision_trace_ = Trace();
  vit_ms_ = 0.0;

  const auto begin = Clock::now();
  if (model_.vision != nullptr) {
    has_media() ? encode_media() : encode_grid();
    add("vit", vit_ms_);
    add_trace("vit", vision_trace_);
  }
  out_.per_token = {.session_preprocess_ms = ms_since(begin), .tokens = {}};

  const auto timed = [&](const char* stage, auto&& work) {
    Trace trace;
    const TimelineSpan span(stage, SpanKind::kStage);
    const auto start = Clock::now();
    {
      const Trace::Scope scope(&trace);
      work();
    }
    const double ms = ms_since(start);
    // Rows are merged inside of prefill, but are a stage of their own.
    add(stage, std::string_view(stage) == "prefill" ? ms - trace.milliseconds("merge") : ms);
    add_trace(stage, trace);
    return ms;
  };
  llm::TokenId token = 0;
  const auto next_token = [&](const char* stage, auto&& make_input, auto&& run_model) {
    TokenTimes times;
    const auto start = Clock::now();
    make_input();
    times.input_generate = ms_since(start);
    times.model = timed(stage, run_model);
    times.sampling = timed("sampling", [&] {
      token = sampler.sample({storage.data(), storage.size()});
    });
    times.token = ms_since(start);
    out_.per_token.tokens.push_back(times);
  };

  next_token(
      "prefill",
      [&] { prompt_ = made_up_prompt(model_, n, out_.grid, out_.vision_tokens, is_image_); },
      [&] {
        const TensorView<const float> rows(
            embeds_.data(), {out_.vision_tokens, pipeline::PromptPrefill::row_size(model_)});
        model_.decoder->prefill({prompt_.ids, {prompt_.positions.ids.data(), {3, n}}, rows}, cache,
                                logits, nullptr);
      });
  out_.first_token_ms.push_back(ms_since(begin));
  llm::BatchRow row;
  for (std::int64_t i = 0; i < workload_.new_tokens; ++i) {
    next_token(
        "decode_token",
        [&] {
          row = {token, n + prompt_.positions.rope_delta + i, &cache};
        },
        [&] {
          model_.decoder->step_batch({&row, 1}, {storage.data(), {1, vocabulary}});
        });
  }
  out_.end_to_end_ms.push_back(ms_since(begin));
}

Measured Runner::run() {
  plan();
  size_prompt();
  add_costs();
  llm::KvCache cache(model_.decoder->kv_shape(), kv_type(),
                     out_.prompt_tokens + workload_.new_tokens);
  for (int i = 0; i < workload_.repeat; ++i) repetition(cache);
  // First what has no cost, as it comes before all others; then in the order of the costs.
  const auto take = [&](const std::string& stage) {
    const auto it = samples_.find(stage);
    if (it == samples_.end()) return;
    out_.stages.push_back({stage, std::move(it->second)});
    samples_.erase(it);
  };
  for (const char* stage : {"open", "scan", "seek"}) take(stage);
  for (const auto& [stage, cost] : out_.costs) take(stage);
  while (!samples_.empty()) take(std::string(samples_.begin()->first));
  return std::move(out_);
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0.0;
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

std::vector<llm::TokenId> made_up_text(const pipeline::Model& model, std::int64_t n,
                                       std::int64_t salt) {
  const llm::VisionTokenIds& placeholders = model.tokens.placeholders;
  const llm::TokenId special = std::min(placeholders.image, placeholders.video);
  std::vector<llm::TokenId> ids;
  for (std::int64_t i = 0; i < n; ++i) {
    // Not one row of the embeddings again and again.
    const auto id = static_cast<llm::TokenId>((i * 7919 + salt) % model.decoder->vocab_size());
    const bool taken = id == placeholders.image || id == placeholders.video;
    ids.push_back(taken ? special - 1 : id);
  }
  return ids;
}

AlignedBuffer<float> made_up_pixels(std::int64_t n) {
  AlignedBuffer<float> out(static_cast<std::size_t>(n));
  for (std::size_t i = 0; i < out.size(); ++i) {
    out[i] = static_cast<float>(i * 2654435761u % 4096) / 1024.0f - 2.0f;
  }
  return out;
}

std::int64_t count_vision_tokens(const pipeline::Model& model, const GridThw& grid,
                                 const Limits& limits) {
  const auto [t, h, w] = grid;
  const std::int64_t merge = model.vision->spatial_merge_size();
  if (h % merge != 0 || w % merge != 0) {
    throw_error(ErrorCode::kInvalidArgument, "--grid is {},{},{}, h and w must be multiples of {}",
                t, h, w, merge);
  }
  const std::int64_t patches = checked_mul(t, checked_mul(h, w, "--grid"), "--grid");
  const std::int64_t out = patches / (merge * merge);
  if (out > limits.prompt_tokens) {
    throw_error(ErrorCode::kLimit, "{} vision tokens are over the limit prompt-tokens ({})", out,
                limits.prompt_tokens);
  }
  return out;
}

std::int64_t choose_prompt_tokens(const pipeline::Model& model, const Workload& workload,
                                  std::int64_t vision_tokens) {
  const std::int64_t n =
      workload.prompt_tokens.value_or(std::max(kDefaultPrompt, vision_tokens + kQuestionTokens));
  check_prompt_tokens(model, n, vision_tokens, workload.new_tokens);
  return n;
}

MemoryBound memory_bound(const Limits& limits) {
  const std::int64_t available = pipeline::available_memory_bytes();
  if (available > 0 && available < limits.request_bytes) {
    return {available, "the memory available"};
  }
  return {limits.request_bytes, "the limit request-bytes"};
}

void check_prompt_tokens(const pipeline::Model& model, std::int64_t n, std::int64_t vision_tokens,
                         std::int64_t new_tokens) {
  const std::int64_t longest = model.decoder->max_position_embeddings();
  if (n <= vision_tokens || n > longest - new_tokens) {
    throw_error(ErrorCode::kInvalidArgument,
                "--prompt-tokens is {}, expected more than the {} vision tokens and, with {} new "
                "ones, at most the {} positions of the model",
                n, vision_tokens, new_tokens, longest);
  }
}

Prompt made_up_prompt(const pipeline::Model& model, std::int64_t n, const GridThw& grid,
                      std::int64_t vision_tokens, bool is_image) {
  const llm::VisionTokenIds& placeholders = model.tokens.placeholders;
  Prompt out;
  out.ids = made_up_text(model, n - vision_tokens);
  // Four tokens of a chat template come before the medium.
  const std::int64_t before = std::min<std::int64_t>(4, std::ssize(out.ids));
  out.ids.insert(out.ids.begin() + before, static_cast<std::size_t>(vision_tokens),
                 is_image ? placeholders.image : placeholders.video);
  const std::int64_t merge = model.vision == nullptr ? 1 : model.vision->spatial_merge_size();
  const llm::VisionGrid vision = {grid};
  out.positions = llm::mrope_positions(out.ids, std::span(&vision, vision_tokens > 0 ? 1 : 0),
                                       merge, placeholders);
  return out;
}

Measured run_workload(pipeline::Model& model, const pipeline::SyntheticSizes& sizes,
                      const Workload& workload, const Limits& limits) {
  return Runner(model, sizes, workload, limits).run();
}

}  // namespace reelm::bench
