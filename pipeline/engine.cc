#include "pipeline/engine.h"

#include <sys/resource.h>

#include <algorithm>
#include <functional>

#include "core/checked.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "pipeline/memory_ledger.h"
#include "pipeline/prompt_format.h"
#include "pipeline/prompt_prefill.h"
#include "pipeline/replica_pool.h"
#include "pipeline/turn.h"

namespace reelm::pipeline {

namespace {

// Stages in the order of the data's way; whatever else was traced follows by name.
constexpr const char* kStageOrder[] = {"open",    "scan",          "seek",     "decode",
                                       "convert", "resize",        "patchify", "vision",
                                       "prefill", "decode_tokens", "sampling", "total"};

std::int64_t peak_memory_bytes() {
  struct rusage usage {};
  (void)::getrusage(RUSAGE_SELF, &usage);
  return static_cast<std::int64_t>(usage.ru_maxrss) * 1024;
}

std::vector<StageTime> stage_times(const Trace& trace) {
  std::vector<StageTime> out;
  for (const char* stage : kStageOrder) out.push_back({stage, trace.milliseconds(stage)});
  for (const auto& [name, total] : trace.totals()) {
    if (name.find('.') != std::string::npos) out.push_back({name, total.milliseconds});
  }
  return out;
}

/// Memory a turn plans for, against the limit and what the system has left. Before any work.
MemoryLedger::Promise promise_memory(MemoryLedger& ledger, const Model& model,
                                     const EngineOptions& options, const Request& request,
                                     const PlannedTurn& turn, std::int64_t new_kv_bytes) {
  const Limits& limits = options.limits;
  const std::int64_t activations = activation_bytes(model, options, request, turn);
  const std::int64_t frames = decoding_bytes(turn);
  const std::int64_t total =
      checked_add(checked_add(activations, new_kv_bytes, "the request"), frames, "the request");
  const std::int64_t prompt_tokens =
      std::ssize(turn.ids) + (turn.guided ? std::ssize(turn.unconditional_ids) : 0);
  const auto refuse = [&](const char* what, std::int64_t bound) {
    throw_error(
        ErrorCode::kLimit,
        "the request needs {} MB ({} MB of KV cache for {} tokens, {} MB of activations, {} MB of "
        "decoded frames), {} is {} MB",
        total >> 20, new_kv_bytes >> 20, prompt_tokens, activations >> 20, frames >> 20, what,
        bound >> 20);
  };
  if (total > limits.request_bytes) refuse("the limit request-bytes", limits.request_bytes);
  std::int64_t left = 0;
  std::optional<MemoryLedger::Promise> promise = ledger.promise(total, left);
  if (!promise) refuse("the memory available", left);
  return std::move(*promise);
}

int checked_replicas(int replicas) {
  constexpr int kMost = 1024;
  if (replicas < 1 || replicas > kMost) {
    throw_error(ErrorCode::kInvalidArgument, "replicas is {}, expected 1 to {}", replicas, kMost);
  }
  return replicas;
}

}  // namespace

const char* finish_reason_name(FinishReason reason) noexcept {
  switch (reason) {
    case FinishReason::kStop:
      return "stop";
    case FinishReason::kLength:
      return "length";
    case FinishReason::kCallback:
      return "callback";
  }
  return "?";
}

double Answer::milliseconds(std::string_view stage) const noexcept {
  for (const StageTime& time : stages) {
    if (time.stage == stage) return time.milliseconds;
  }
  return 0.0;
}

Request Request::question(const std::vector<preprocess::MediaSource>& media, std::string text,
                          std::string system) {
  Request request;
  if (!system.empty()) request.messages.push_back(Message::text("system", std::move(system)));
  Message user{"user", {}};
  for (const preprocess::MediaSource& source : media) user.content.emplace_back(source);
  user.content.emplace_back(std::move(text));
  request.messages.push_back(std::move(user));
  return request;
}

struct Engine::Impl {
  Impl(Model model_in, const EngineOptions& options_in)
      : model(std::move(model_in)),
        options(options_in),
        replicas(model, checked_replicas(options.replicas)) {}

  Model model;
  EngineOptions options;
  ReplicaPool replicas;
  MemoryLedger memory{available_memory_bytes};

  /// Threads of a request's loops: its share beside those of other replicas; 0: as everywhere.
  int threads_per_request() const {
    if (options.replicas == 1) return options.threads;
    const int all = options.threads > 0 ? options.threads : num_threads();
    return std::max(1, all / options.replicas);
  }
  RequestPlan plan(const Request& request) const;
  llm::KvType kv_type() const { return options.kv_dtype.value_or(model.decoder->kv_type()); }
};

RequestPlan Engine::Impl::plan(const Request& request) const {
  Trace trace;
  const PlannedTurn turn =
      plan_turn(model, options, request, {}, {}, model.decoder->max_position_embeddings(), trace);
  RequestPlan plan;
  for (const PlannedMedium& medium : turn.media) plan.media.push_back(medium.plan);
  plan.prompt_tokens = static_cast<std::int64_t>(turn.ids.size());
  plan.vision_tokens = turn.vision_tokens;
  if (turn.guided) plan.unconditional_tokens = std::ssize(turn.unconditional_ids);
  plan.max_new_tokens = turn.max_new_tokens;
  plan.kv_cache_bytes =
      new_positions(turn) * model.decoder->kv_shape().bytes_per_position(kv_type());
  plan.decoding_bytes = decoding_bytes(turn);
  plan.activation_bytes = activation_bytes(model, options, request, turn);
  return plan;
}

struct Session::Impl {
  Engine::Impl* engine;
  std::int64_t context;  // positions in all
  /// Made with the first turn that needs them: exactly as large as one needs when it is the only
  /// one.
  ConversationCaches caches;
  bool single_turn = false;
  ConversationState state;

  /// Bytes of the caches that this turn will fill for the first time.
  std::int64_t new_kv_bytes(const PlannedTurn& turn) const {
    return new_positions(turn) *
           engine->model.decoder->kv_shape().bytes_per_position(engine->kv_type());
  }
  /// One turn; when it fails the conversation is as before.
  Answer ask(const Request& request);

 private:
  /// Begins the conversation again in an empty main cache, with another state.
  using Restart = std::function<void(ConversationState again)>;
  Answer take_turn(Model& model, const Request& request, const Restart& restart);
  void make_caches(const PlannedTurn& turn);
};

Answer Session::Impl::ask(const Request& request) {
  ConversationState state_before = state;
  std::int64_t length_before = caches.length();
  std::int64_t unconditional_before = caches.unconditional_length();
  const ReplicaPool::Lease replica = engine->replicas.take(request.cancel);
  const LoopThreads share(engine->threads_per_request());
  try {
    return take_turn(replica.model(), request, [&](ConversationState again) {
      ConversationState again_before = again;
      caches.main->truncate(length_before = 0);
      // Written anew, the second sequence begins again too; else it goes on where it was.
      if (caches.unconditional != nullptr && replica.model().prompt_format->rewrites_history()) {
        caches.unconditional->truncate(unconditional_before = 0);
      }
      state = std::move(again);
      state_before = std::move(again_before);
    });
  } catch (...) {
    if (caches.main != nullptr) caches.main->truncate(length_before);
    if (caches.unconditional != nullptr) caches.unconditional->truncate(unconditional_before);
    state = std::move(state_before);  // not a copy: there may be no memory
    throw;
  }
}

void Session::Impl::make_caches(const PlannedTurn& turn) {
  const auto make = [&](std::unique_ptr<llm::KvCache>& cache, std::int64_t prompt_tokens) {
    if (cache != nullptr) return;
    cache =
        std::make_unique<llm::KvCache>(engine->model.decoder->kv_shape(), engine->kv_type(),
                                       single_turn ? prompt_tokens + turn.max_new_tokens : context);
  };
  make(caches.main, std::ssize(turn.ids));
  if (turn.guided) make(caches.unconditional, std::ssize(turn.unconditional_ids));
}

Answer Session::Impl::take_turn(Model& model, const Request& request, const Restart& restart) {
  const EngineOptions& options = engine->options;
  Answer answer;
  Trace trace;
  const Trace::Scope scope(&trace);
  {
    TraceSpan total("total", SpanKind::kStage);
    // Settings that cannot be used are refused before the media are opened.
    (void)sampling_config(model.generation, request.generation);
    if (caches.main != nullptr && model.prompt_format->rewrites_history()) {
      restart(rewritten(state));
    }
    PlannedTurn turn = plan_turn(model, options, request, state, caches, context, trace);
    if (caches.main != nullptr &&
        !model.decoder->goes_on(*caches.main, caches.length() + std::ssize(turn.ids))) {
      restart(begun_again(state));
      turn = plan_turn(model, options, request, state, caches, context, trace);
    }
    const MemoryLedger::Promise memory =
        promise_memory(engine->memory, model, options, request, turn, new_kv_bytes(turn));
    make_caches(turn);
    PromptPrefill prefill(model, request, turn, *caches.main);
    encode_media(model, options, request, turn, prefill, answer.media, trace);
    answer.prompt_tokens = static_cast<std::int64_t>(turn.ids.size());
    answer.vision_tokens = turn.vision_tokens;
    generate(model, request, turn, prefill, caches, state, answer);
  }
  answer.stages = stage_times(trace);
  answer.peak_memory_bytes = peak_memory_bytes();
  return answer;
}

Engine Engine::open(const std::filesystem::path& model_dir, const EngineOptions& options) {
  const LoopThreads threads(options.threads);  // packing is a loop too
  return telling_out_of_memory([&] {
    return Engine(open_model(model_dir, {.dtypes = options.dtypes,
                                         .limits = options.limits,
                                         .packed_cache = options.packed_cache,
                                         .adapters = options.adapters,
                                         .mmproj = options.mmproj,
                                         .cancel = options.cancel}),
                  options);
  });
}

Engine::Engine(Model model, const EngineOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Engine::Engine(Engine&&) noexcept = default;
Engine& Engine::operator=(Engine&&) noexcept = default;
Engine::~Engine() = default;

const Model& Engine::model() const noexcept { return impl_->model; }
const Limits& Engine::limits() const noexcept { return impl_->options.limits; }
int Engine::replicas() const noexcept { return impl_->options.replicas; }

Answer Engine::ask(const Request& request) {
  return telling_out_of_memory([&] {
    Session session(*this);
    session.impl_->single_turn = true;
    return session.ask(request);
  });
}

RequestPlan Engine::plan(const Request& request) {
  return telling_out_of_memory([&] { return impl_->plan(request); });
}

Session::Session(Engine& engine, std::int64_t context) : impl_(std::make_unique<Impl>()) {
  const std::int64_t longest = engine.impl_->model.decoder->max_position_embeddings();
  if (context < 0 || context > longest) {
    throw_error(
        ErrorCode::kInvalidArgument,
        "the session's context is {}, expected 1 to max_position_embeddings {} (0: all of it)",
        context, longest);
  }
  impl_->engine = engine.impl_.get();
  impl_->context = context == 0 ? longest : context;
}
Session::Session(Session&&) noexcept = default;
Session& Session::operator=(Session&&) noexcept = default;
Session::~Session() = default;

std::int64_t Session::length() const noexcept { return impl_->caches.length(); }

Answer Session::ask(const Request& request) {
  return telling_out_of_memory([&] { return impl_->ask(request); });
}

}  // namespace reelm::pipeline
