#include "pipeline/turn.h"

#include <algorithm>
#include <cmath>

#include "core/checked.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "pipeline/answer_logits.h"
#include "pipeline/answer_text.h"
#include "pipeline/prompt_format.h"
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
      model.check_takes_media(source->name());
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

/// An image has one temporal patch.
float time_interval(const Model& model, const preprocess::MediaPlan& plan) {
  if (plan.is_image) return 1.0f;
  return llm::time_interval(
      model.tokens_per_second,
      static_cast<double>(model.preprocessor.temporal_patch_size) / plan.sample_fps);
}

/// "<0.3 seconds>", as Qwen3VLProcessor.replace_video_token (transformers 5.23).
std::vector<std::string> timestamps(const preprocess::MediaPlan& plan) {
  std::vector<std::string> out;
  for (const double seconds : plan.slice_seconds) {
    out.push_back(fmt::format("<{:.1f} seconds>", seconds));
  }
  return out;
}

/// What stands for the medium in the prompt, and the grids of its runs of placeholders.
void place_medium(const Model& model, const Request& request, const preprocess::MediaPlan& plan,
                  std::vector<MediaTokens>& tokens, std::vector<llm::VisionGrid>& grids) {
  MediaTokens& place = tokens.emplace_back(MediaTokens{plan.is_image, plan.n_vision_tokens});
  if (plan.is_image || !model.slice_timestamps) {
    grids.push_back({plan.grid_thw, time_interval(model, plan)});
    return;
  }
  place.slice_texts = timestamps(plan);
  place.wrapped = request.position_rule == llm::PositionRule::kInstalled;
  const auto [t, h, w] = plan.grid_thw;
  grids.insert(grids.end(), static_cast<std::size_t>(t), {{1, h, w}});
}

void check_text(const Limits& limits, const Request& request) {
  const auto& negative = request.generation.negative_prompt;
  std::int64_t bytes = negative ? std::ssize(*negative) : 0;
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

void check_guidance(const GenerationOptions& options) {
  const std::optional<double>& scale = options.guidance_scale;
  if (scale && !(std::isfinite(*scale) && *scale >= 0.0)) {
    throw_error(ErrorCode::kInvalidArgument, "guidance is {}, expected a number of 0 or more",
                *scale);
  }
  if (options.negative_prompt && !scale) {
    throw Error(ErrorCode::kInvalidArgument,
                "there is a negative prompt but no guidance, expected both (--guidance, "
                "--negative)");
  }
}

/// The two sequences must differ, and the second fit as well.
void check_unconditional(const Limits& limits, const PlannedTurn& turn, bool contrast,
                         std::int64_t length, std::int64_t context) {
  if (!contrast) {
    throw Error(ErrorCode::kInvalidArgument,
                "guidance has nothing to contrast with, expected a video, an image or a negative "
                "prompt");
  }
  const auto n = static_cast<std::int64_t>(turn.unconditional_ids.size());
  const auto refuse = [&](const char* what, std::int64_t bound) {
    throw_error(ErrorCode::kLimit,
                "guidance's second prompt has {} tokens after {} already held, {} is {}", n, length,
                what, bound);
  };
  if (n > limits.prompt_tokens) refuse("the limit prompt-tokens", limits.prompt_tokens);
  if (n >= context - length) refuse("the context", context);
}

/// What the turn's prompt is written of; `kept` holds it where there is a history.
std::span<const Message> messages_to_write(const Request& request, const ConversationState& state,
                                           std::vector<Message>& kept) {
  if (state.history.empty()) return request.messages;
  kept = state.history;
  kept.insert(kept.end(), request.messages.begin(), request.messages.end());
  return kept;
}

/// Plans the second sequence, which is kept up to date in turns without guidance too.
void plan_unconditional(const Model& model, const Request& request, const ConversationState& state,
                        std::span<const Message> messages, std::span<const llm::TokenId> prompt,
                        const TurnPlace& place, PlannedTurn& turn) {
  const GenerationOptions& generation = request.generation;
  turn.guided = generation.guidance_scale && *generation.guidance_scale != 1.0;
  turn.unconditional_ids = state.unconditional_pending;
  const std::optional<std::string> negative =
      turn.guided ? generation.negative_prompt : std::nullopt;
  std::vector<llm::TokenId> without_media;
  if (!turn.media.empty() || negative) {
    without_media =
        model.prompt_format->prompt(model, unconditional_messages(messages, negative), {}, place);
    prompt = without_media;
  }
  turn.unconditional_ids.insert(turn.unconditional_ids.end(), prompt.begin(), prompt.end());
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
  std::int64_t bytes = checked_mul(rows, PromptPrefill::row_size(model) * 4, "vision embeddings");
  bytes = checked_add(bytes, checked_mul(pixels, held, "patches"), "activations");
  bytes = checked_add(bytes, workspace, "activations");
  return checked_add(bytes, static_cast<std::int64_t>(model.decoder->workspace_bytes()),
                     "activations");
}

std::int64_t decoding_bytes(const PlannedTurn& turn) {
  std::int64_t most = 0;
  for (const PlannedMedium& medium : turn.media) most = std::max(most, medium.plan.decoding_bytes);
  return most;
}

std::int64_t new_positions(const PlannedTurn& turn) {
  const std::int64_t main = std::ssize(turn.ids) + turn.max_new_tokens;
  return turn.guided ? main + std::ssize(turn.unconditional_ids) + turn.max_new_tokens : main;
}

PlannedTurn plan_turn(const Model& model, const EngineOptions& options, const Request& request,
                      const ConversationState& state, const ConversationCaches& caches,
                      std::int64_t context, Trace& trace) {
  const Limits& limits = options.limits;
  const std::int64_t length = caches.length();
  PlannedTurn turn;
  check_guidance(request.generation);
  check_text(limits, request);
  turn.media = open_media(model, options, request, trace);
  std::vector<MediaTokens> tokens;
  std::vector<llm::VisionGrid> grids;
  for (const PlannedMedium& medium : turn.media) {
    place_medium(model, request, medium.plan, tokens, grids);
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
  TurnPlace place = {
      .default_system = std::nullopt, .first_turn = first_turn, .rounds = state.rounds};
  if (first_turn && model.default_system) place.default_system = *model.default_system;
  std::vector<Message> kept;
  const std::span<const Message> messages = messages_to_write(request, state, kept);
  turn.ids = state.pending;
  const std::vector<llm::TokenId> prompt =
      model.prompt_format->prompt(model, messages, tokens, place);
  turn.ids.insert(turn.ids.end(), prompt.begin(), prompt.end());
  check_length(model, limits, length, turn, context);
  plan_unconditional(model, request, state, messages, prompt, place, turn);
  if (turn.guided) {
    const bool contrast =
        state.contrast || turn.vision_tokens > 0 || request.generation.negative_prompt;
    check_unconditional(limits, turn, contrast, caches.unconditional_length(), context);
  }

  const std::int64_t merge = model.vision == nullptr ? 1 : model.vision->spatial_merge_size();
  turn.positions = llm::mrope_positions(turn.ids, grids, merge, model.tokens.placeholders,
                                        state.next_position, request.position_rule);
  const std::int64_t wanted = request.generation.max_new_tokens.value_or(
      model.generation.max_new_tokens.value_or(kDefaultMaxNewTokens));
  if (wanted < 1) {
    throw_error(ErrorCode::kInvalidArgument, "max-new-tokens is {}, expected 1 or more", wanted);
  }
  std::int64_t room = context - length - std::ssize(turn.ids);
  if (turn.guided) {
    room = std::min(room,
                    context - caches.unconditional_length() - std::ssize(turn.unconditional_ids));
  }
  turn.max_new_tokens = std::min(wanted, room);
  return turn;
}

ConversationState rewritten(const ConversationState& state) {
  ConversationState out;
  out.history = state.history;
  return out;
}

ConversationState begun_again(const ConversationState& state) {
  ConversationState out = state;
  out.pending.insert(out.pending.begin(), out.held.begin(), out.held.end());
  out.held.clear();
  out.next_position = 0;
  return out;
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

bool is_placeholder(const Model& model, llm::TokenId id) {
  return id == model.tokens.placeholders.image || id == model.tokens.placeholders.video;
}

/// What the template puts behind an answer, for the next turn: the last token was chosen but never
/// fed to the decoder, so it comes first unless it was the one that ended the answer.
std::vector<llm::TokenId> closing_tokens(const Model& model, llm::TokenId last, bool ended) {
  std::vector<llm::TokenId> out = model.prompt_format->closing(model);
  if (!ended && !is_placeholder(model, last)) out.insert(out.begin(), last);
  return out;
}

/// What formats want to know of the turns before.
void remember(const PromptFormat& format, const Request& request, const Answer& answer,
              ConversationState& state) {
  state.rounds += std::count_if(request.messages.begin(), request.messages.end(),
                                [](const Message& message) { return message.role == "user"; });
  if (!format.rewrites_history()) return;
  state.history.insert(state.history.end(), request.messages.begin(), request.messages.end());
  state.history.push_back(Message::text("assistant", answer.text));
}

/// What the next turn has to know of this one. All tokens of the answer but the last were fed to
/// the decoder.
void advance(const Model& model, const Request& request, const PlannedTurn& turn,
             const Answer& answer, ConversationState& state) {
  const auto append = [](std::vector<llm::TokenId>& to, std::span<const llm::TokenId> from) {
    to.insert(to.end(), from.begin(), from.end());
  };
  const std::span<const llm::TokenId> fed =
      std::span(answer.token_ids).first(answer.token_ids.size() - 1);
  append(state.held, turn.ids);
  append(state.held, fed);
  append(state.seen, turn.ids);
  append(state.seen, answer.token_ids);
  const llm::TokenId last = answer.token_ids.back();
  state.pending = closing_tokens(model, last, answer.finish_reason == FinishReason::kStop);
  remember(*model.prompt_format, request, answer, state);
  state.contrast |= turn.vision_tokens > 0 || (turn.guided && request.generation.negative_prompt);

  std::vector<llm::TokenId>& unconditional = state.unconditional_pending;
  unconditional.clear();
  if (!turn.guided) {
    unconditional = turn.unconditional_ids;
    for (const llm::TokenId token : fed) {
      // A placeholder that the model itself chose can be stepped over, not prefilled.
      if (!is_placeholder(model, token)) unconditional.push_back(token);
    }
  }
  append(unconditional, state.pending);
}

}  // namespace

void generate(Model& model, const Request& request, const PlannedTurn& turn, PromptPrefill& prefill,
              ConversationCaches& caches, ConversationState& state, Answer& answer) {
  llm::Sampler sampler(sampling_config(model.generation, request.generation),
                       model.decoder->vocab_size());
  sampler.see(state.seen);
  sampler.see(turn.ids);

  AnswerLogits logits(model, request, turn, caches,
                      state.next_position + std::ssize(turn.ids) + turn.positions.rope_delta);
  logits.begin(prefill);

  llm::StreamDecoder stream(*model.tokenizer);
  AnswerText text(model.prompt_format->trims_answers());
  const auto emit = [&](const std::string& decoded) {
    const std::string piece = text.push(decoded);
    answer.text += piece;
    return piece.empty() || !request.on_text || request.on_text(piece);
  };
  const auto& eos = model.generation.eos_token_id;
  answer.finish_reason = FinishReason::kLength;
  for (std::int64_t i = 0; i < turn.max_new_tokens; ++i) {
    if (request.cancel != nullptr) request.cancel->check();
    model.check_intact();  // no token of weights that were lost is told
    if (request.observer != nullptr) {
      request.observer->on_logits(i, {logits.values().data(), {model.decoder->vocab_size()}});
    }
    llm::TokenId token = -1;
    {
      TraceSpan span("sampling", SpanKind::kStage, {"token", i});
      token = sampler.sample(logits.values());
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
    logits.step(token);
  }
  if (answer.finish_reason != FinishReason::kCallback) (void)emit(stream.finish());
  state.next_position = logits.position();
  advance(model, request, turn, answer, state);
}

}  // namespace reelm::pipeline
