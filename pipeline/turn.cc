#include "pipeline/turn.h"

#include <algorithm>

#include "core/checked.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "pipeline/prompt_prefill.h"
#include "pipeline/slice_stream.h"

namespace reelm::pipeline {

namespace {

// Where neither the request nor the model says: long enough for a description of a video, short
// enough to end when a model rambles.
constexpr std::int64_t kDefaultMaxNewTokens = 512;

// The longest token of Qwen2's vocabulary has 128 bytes; text that is longer than all tokens of a
// prompt could be is refused before it is tokenised, which nothing interrupts.
constexpr std::int64_t kMaxBytesPerToken = 128;

std::vector<PlannedMedium> open_media(const Model& model, const EngineOptions& options,
                                      const Request& request, Trace& trace) {
  const Limits& limits = options.limits;
  std::vector<PlannedMedium> out;
  for (const Message& message : request.messages) {
    for (const Content& content : message.content) {
      const auto* source = std::get_if<preprocess::MediaSource>(&content);
      if (source == nullptr) continue;
      if (static_cast<std::int64_t>(out.size()) >= limits.media_count) {
        throw_error(ErrorCode::kLimit,
                    "the prompt has more media than the limit media-count ({}) allows",
                    limits.media_count);
      }
      if (model.vision == nullptr) {
        throw_error(ErrorCode::kInvalidArgument, "{}: model_type '{}' takes no images or videos",
                    source->name(), model.model_type);
      }
      preprocess::Media media(*source, limits, request.cancel, options.sandbox);
      preprocess::MediaPlan plan = preprocess::plan_media(media, model.preprocessor,
                                                          request.sampling, limits, request.cancel);
      trace.add("open", media.open_ms());
      trace.add("scan", media.scan_ms());
      out.push_back({source->name(), std::move(media), std::move(plan)});
    }
  }
  return out;
}

void check_text(const Limits& limits, const Request& request) {
  std::int64_t bytes = 0;
  for (const Message& message : request.messages) {
    for (const Content& content : message.content) {
      if (const auto* text = std::get_if<std::string>(&content)) bytes += std::ssize(*text);
    }
  }
  if (bytes / kMaxBytesPerToken > limits.prompt_tokens) {
    throw_error(ErrorCode::kLimit,
                "the prompt has {} bytes of text, over the limit prompt-tokens ({}) at {} a token",
                bytes, limits.prompt_tokens, kMaxBytesPerToken);
  }
}

void check_length(const Model& model, const Limits& limits, std::int64_t length,
                  const PlannedTurn& turn, std::int64_t context) {
  const auto n = static_cast<std::int64_t>(turn.ids.size());
  if (n > limits.prompt_tokens) {
    throw_error(ErrorCode::kLimit,
                "the prompt has {} tokens ({} of them vision), over the limit prompt-tokens ({})",
                n, turn.vision_tokens, limits.prompt_tokens);
  }
  // One more position is needed for the first token of the answer.
  if (n >= context - length) {
    throw_error(ErrorCode::kLimit,
                "the prompt has {} tokens ({} of them vision) after {} already held, {} holds {}: "
                "take fewer frames (--max-frames, --fps), smaller ones (--max-pixels) or less text",
                n, turn.vision_tokens, length,
                context == model.decoder->max_position_embeddings() ? "max_position_embeddings"
                                                                    : "the session's context",
                context);
  }
}

void report(const Request& request, std::string_view stage, std::int64_t done, std::int64_t total) {
  if (request.on_progress) request.on_progress({stage, done, total});
}

void add_reader_times(const preprocess::StageTimes& times, Trace& trace) {
  trace.add("seek", times.seek);
  trace.add("decode", times.decode);
  trace.add("convert", times.convert);
  trace.add("resize", times.resize);
  trace.add("patchify", times.patchify);
}

}  // namespace

std::int64_t activation_bytes(const Model& model, const EngineOptions& options,
                              const Request& request, const PlannedTurn& turn) {
  std::int64_t workspace = 0;
  std::int64_t pixels = 0;
  std::int64_t slices = 0;
  for (const PlannedMedium& medium : turn.media) {
    const auto [t, h, w] = medium.plan.grid_thw;
    slices += t;
    workspace = std::max(workspace, static_cast<std::int64_t>(model.vision->workspace_bytes(h, w)));
    pixels = std::max(pixels, checked_mul(checked_mul(h, w, "patches"),
                                          model.vision->patch_dim() * 4, "patches"));
  }
  constexpr auto kAhead = static_cast<std::int64_t>(SliceStream::kSlices);
  const std::int64_t held = std::min<std::int64_t>(slices, options.overlap ? kAhead : 1);
  const std::int64_t rows = PromptPrefill::rows_held(model, request, turn);
  std::int64_t bytes = checked_mul(rows, model.decoder->hidden_size() * 4, "vision embeddings");
  bytes = checked_add(bytes, checked_mul(pixels, held, "patches"), "activations");
  bytes = checked_add(bytes, workspace, "activations");
  return checked_add(bytes, static_cast<std::int64_t>(model.decoder->workspace_bytes()),
                     "activations");
}

PlannedTurn plan_turn(const Model& model, const EngineOptions& options, const Request& request,
                      const ConversationState& state, std::int64_t length, std::int64_t context,
                      Trace& trace) {
  const Limits& limits = options.limits;
  PlannedTurn turn;
  check_text(limits, request);
  turn.media = open_media(model, options, request, trace);
  std::vector<MediaTokens> tokens;
  std::vector<GridThw> grids;
  for (const PlannedMedium& medium : turn.media) {
    tokens.push_back({medium.plan.is_image, medium.plan.n_vision_tokens});
    grids.push_back(medium.plan.grid_thw);
    turn.vision_tokens =
        checked_add(turn.vision_tokens, medium.plan.n_vision_tokens, "vision tokens");
  }
  if (turn.vision_tokens > limits.prompt_tokens) {
    throw_error(ErrorCode::kLimit,
                "the media make {} vision tokens, over the limit prompt-tokens ({})",
                turn.vision_tokens, limits.prompt_tokens);
  }
  const TimelineSpan span("prompt", SpanKind::kStage);
  const bool first_turn = length == 0 && state.pending.empty();
  turn.ids = state.pending;
  const std::vector<llm::TokenId> prompt =
      chat_prompt(*model.tokenizer, model.tokens, request.messages, tokens, first_turn);
  turn.ids.insert(turn.ids.end(), prompt.begin(), prompt.end());
  check_length(model, limits, length, turn, context);

  const std::int64_t merge = model.vision == nullptr ? 1 : model.vision->spatial_merge_size();
  turn.positions = llm::mrope_positions(turn.ids, grids, merge, model.tokens.placeholders,
                                        state.next_position, request.position_rule);
  const std::int64_t wanted = request.generation.max_new_tokens.value_or(
      model.generation.max_new_tokens.value_or(kDefaultMaxNewTokens));
  if (wanted < 1) {
    throw_error(ErrorCode::kInvalidArgument, "max-new-tokens is {}, expected 1 or more", wanted);
  }
  const std::int64_t room = context - length - static_cast<std::int64_t>(turn.ids.size());
  turn.max_new_tokens = std::min(wanted, room);
  return turn;
}

void encode_media(Model& model, const EngineOptions& options, const Request& request,
                  PlannedTurn& turn, PromptPrefill& prefill, std::vector<MediaReport>& reports,
                  Trace& trace) {
  CancelToken stop(request.cancel);
  MediaSlices source(turn.media, model.preprocessor, options.limits, &stop);
  SliceStream stream(source, stop, options.overlap);
  std::int64_t done = 0;  // slices of the medium
  const auto next = [&] {
    TraceSpan span("slices.wait", SpanKind::kStage);
    return stream.next();
  };
  while (const Slice* slice = next()) {
    const PlannedMedium& medium = turn.media[slice->medium];
    const std::int64_t slices = medium.plan.n_slices();
    if (done == 0) report(request, "frames", 0, slices);
    report(request, "frames", ++done, slices);
    if (request.observer != nullptr) request.observer->on_patches(slice->medium, slice->patches);
    {
      TraceSpan span("vision", SpanKind::kStage, {"slice", done - 1});
      const TensorView<float> rows = prefill.reserve(medium.plan.n_vision_tokens / slices);
      model.vision->encode(slice->patches, rows, request.cancel);
    }
    report(request, "vision", done, slices);
    prefill.add();
    if (!slice->end) continue;
    add_reader_times(slice->end->times, trace);
    reports.push_back({medium.name, medium.plan, slice->end->warnings});
    done = 0;
  }
}

llm::SamplingConfig sampling_config(const GenerationConfig& model,
                                    const GenerationOptions& options) {
  llm::SamplingConfig out = model.sampling;
  if (options.temperature) {
    out.do_sample = *options.temperature != 0.0;
    out.temperature = *options.temperature;
  }
  if (options.top_p) out.top_p = *options.top_p;
  if (options.top_k) out.top_k = *options.top_k;
  if (options.repetition_penalty) out.repetition_penalty = *options.repetition_penalty;
  out.seed = options.seed;
  llm::validate(out);
  return out;
}

namespace {

/// What the template puts behind an answer, for the next turn: the last token was chosen but never
/// fed to the decoder, so it comes first unless it was the one that ended the answer.
std::vector<llm::TokenId> closing_tokens(const Model& model, llm::TokenId last, bool ended) {
  const llm::VisionTokenIds& placeholders = model.tokens.placeholders;
  std::vector<llm::TokenId> out;
  if (!ended && last != placeholders.image && last != placeholders.video) out.push_back(last);
  out.push_back(model.tokens.im_end);
  const std::vector<llm::TokenId> newline = model.tokenizer->encode("\n");
  out.insert(out.end(), newline.begin(), newline.end());
  return out;
}

}  // namespace

void generate(Model& model, const Request& request, const PlannedTurn& turn, PromptPrefill& prefill,
              llm::KvCache& cache, ConversationState& state, Answer& answer) {
  const std::int64_t vocabulary = model.decoder->vocab_size();
  AlignedBuffer<float> storage(static_cast<std::size_t>(vocabulary));
  const TensorView<float> logits(storage.data(), {vocabulary});
  llm::Sampler sampler(sampling_config(model.generation, request.generation), vocabulary);
  sampler.see(state.seen);
  sampler.see(turn.ids);

  prefill.finish(logits);
  const auto n = static_cast<std::int64_t>(turn.ids.size());
  std::int64_t position = state.next_position + n + turn.positions.rope_delta;

  llm::StreamDecoder stream(*model.tokenizer);
  const auto emit = [&](const std::string& piece) {
    answer.text += piece;
    return piece.empty() || !request.on_text || request.on_text(piece);
  };
  const auto& eos = model.generation.eos_token_id;
  answer.finish_reason = FinishReason::kLength;
  llm::TokenId token = -1;
  for (std::int64_t i = 0; i < turn.max_new_tokens; ++i) {
    if (request.cancel != nullptr) request.cancel->check();
    model.check_intact();  // no token of weights that were lost is told
    if (request.observer != nullptr) request.observer->on_logits(i, logits);
    {
      TraceSpan span("sampling", SpanKind::kStage, {"token", i});
      token = sampler.sample({storage.data(), storage.size()});
    }
    answer.token_ids.push_back(token);
    if (std::find(eos.begin(), eos.end(), token) != eos.end()) {
      answer.finish_reason = FinishReason::kStop;
      break;
    }
    if (!emit(stream.push(token))) {
      answer.finish_reason = FinishReason::kCallback;
      break;
    }
    if (i + 1 == turn.max_new_tokens) break;
    TraceSpan span("decode_tokens", SpanKind::kStage, {"token", i});
    model.decoder->step(token, position++, cache, logits);
  }
  if (answer.finish_reason != FinishReason::kCallback) (void)emit(stream.finish());

  state.seen.insert(state.seen.end(), turn.ids.begin(), turn.ids.end());
  state.seen.insert(state.seen.end(), answer.token_ids.begin(), answer.token_ids.end());
  const bool ended = answer.finish_reason == FinishReason::kStop;
  state.pending = closing_tokens(model, token, ended);
  state.next_position = position;
}

}  // namespace reelm::pipeline
