// The engine: open a model once, ask it about videos and images as often as you like.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "../core/cancel.h"
#include "../core/limits.h"
#include "../core/patch_batch.h"
#include "../core/tensor_view.h"
#include "../preprocess/plan.h"
#include "../preprocess/sandbox.h"
#include "message.h"
#include "model.h"

namespace reelm::pipeline {

/// How an engine is opened.
struct EngineOptions {
  ModelDtypes dtypes = {};
  int threads = 0;  ///< of loops and matrix products; 0: num_threads(), as many as there are cores
  /// Requests answered at the same time, 1 or more: each over a replica of the model, which shares
  /// its weights and has a workspace of its own, with an equal share of the threads.
  int replicas = 1;
  Limits limits = {};
  /// Read, resize and patchify the next slice in a thread of its own while one is encoded or the
  /// prompt is taken in. Answers are the same, bit for bit.
  bool overlap = true;
  PackedCache packed_cache = {};
  Adapters adapters = {};               ///< as in OpenOptions
  std::filesystem::path mmproj = {};    ///< as in OpenOptions
  const CancelToken* cancel = nullptr;  ///< polled while the engine opens
  /// Media are decoded by confined processes of this, which outlives the engine; null: in this
  /// process.
  const preprocess::Sandbox* sandbox = nullptr;
  std::optional<llm::KvType> kv_dtype = {};  ///< of cached keys and values; else what suits weights
};

/// What replaces the model's generation_config.json where it is set.
struct GenerationOptions {
  std::optional<std::int64_t> max_new_tokens;  ///< else the model's, else 512
  /// Above 0: sampling at this temperature; 0: greedy. Else as the model says.
  std::optional<double> temperature;
  std::optional<double> top_p;
  std::optional<std::int64_t> top_k;
  std::optional<double> repetition_penalty;
  std::uint64_t seed = 0;
  /// Classifier-free guidance: contrasts the answer's logits with those of a second prompt, the
  /// same conversation without its media (llm/guidance.h; docs/guidance.md). 0 or more; above 1 the
  /// media count for more. 1 or none: off. Both sequences are decoded as one batch.
  std::optional<double> guidance_scale;
  /// Under guidance: stands in the second prompt for the text of the last message.
  std::optional<std::string> negative_prompt;
};

/// Looks at the intermediate results of a request; for `reelm verify`, tests and tools. Views are
/// valid during the call only.
class Observer {
 public:
  virtual ~Observer() = default;
  /// One temporal slice of medium number `medium`, before it is encoded.
  virtual void on_patches(std::size_t medium, const PatchBatch& slice) {
    (void)medium;
    (void)slice;
  }
  /// ids [n], position_ids [3, n].
  virtual void on_prompt(std::span<const llm::TokenId> ids,
                         TensorView<const std::int64_t> position_ids, std::int64_t rope_delta) {
    (void)ids;
    (void)position_ids;
    (void)rope_delta;
  }
  /// All vision rows of the turn in prompt order, [n_vision_tokens, VisionEncoder::row_size()].
  virtual void on_vision_embeds(TensorView<const float> embeds) { (void)embeds; }
  /// Logits [vocab_size] that token number `index` of the answer is chosen from, after guidance.
  virtual void on_logits(std::int64_t index, TensorView<const float> logits) {
    (void)index;
    (void)logits;
  }
};

/// Work under way: "frames" (slices read), "vision" (slices encoded), "prefill" (tokens). A long
/// prompt is taken in piece by piece between the slices.
struct Progress {
  std::string_view stage;
  std::int64_t done = 0;
  std::int64_t total = 0;
};

/// One turn of a conversation.
struct Request {
  /// New messages, the last from the user; the first may be from the system.
  std::vector<Message> messages;
  preprocess::SamplingOptions sampling;  ///< frames and pixels of the media
  GenerationOptions generation;
  llm::PositionRule position_rule = llm::PositionRule::kPaper;
  /// Called with each piece of text as it becomes whole; never half a character. Return false to
  /// stop.
  std::function<bool(std::string_view)> on_text;
  std::function<void(const Progress&)> on_progress;
  const CancelToken* cancel = nullptr;  ///< polled by every stage
  Observer* observer = nullptr;

  /// Media, then the question, in one user message; `system` (if not empty) before it.
  static Request question(const std::vector<preprocess::MediaSource>& media, std::string text,
                          std::string system = {});
};

/// What a medium gave to the prompt.
struct MediaReport {
  std::string name;
  preprocess::MediaPlan plan;         ///< frames chosen, their PTS, sizes, grid_thw, tokens
  std::vector<std::string> warnings;  ///< one line each: frames lost, truncated, ...
};

/// Wall time of one stage.
struct StageTime {
  std::string stage;
  double milliseconds = 0.0;
};

enum class FinishReason {
  kStop,      ///< the model ended its answer
  kLength,    ///< max_new_tokens, or the model's context is full
  kCallback,  ///< on_text returned false
};

/// "stop", "length", "callback".
const char* finish_reason_name(FinishReason reason) noexcept;

struct Answer {
  std::string text;                     ///< without special tokens
  std::vector<llm::TokenId> token_ids;  ///< with the one that ended it
  FinishReason finish_reason = FinishReason::kStop;
  std::int64_t prompt_tokens = 0;  ///< of this turn, vision tokens included
  std::int64_t vision_tokens = 0;  ///< of this turn
  std::vector<MediaReport> media;
  /// open, scan, seek, decode, convert, resize, patchify, vision, prefill, decode_tokens, sampling,
  /// total; then the parts of the model's stages ("vit.qkv", "llm.attention", ...), and
  /// "slices.wait": how long the encoder waited for slices. With EngineOptions::overlap the stages
  /// of reading run beside the others, so that the sum of all may be more than the total.
  std::vector<StageTime> stages;
  std::int64_t peak_memory_bytes = 0;  ///< of the process so far (maximum resident set)

  /// Milliseconds of a stage, 0 when it never ran.
  double milliseconds(std::string_view stage) const noexcept;
};

/// What a request will cost, before any frame is decoded.
struct RequestPlan {
  std::vector<preprocess::MediaPlan> media;
  std::int64_t prompt_tokens = 0;
  std::int64_t vision_tokens = 0;
  std::int64_t unconditional_tokens = 0;  ///< of guidance's second prompt; 0 without guidance
  std::int64_t max_new_tokens = 0;
  std::int64_t kv_cache_bytes = 0;    ///< of both sequences under guidance
  std::int64_t decoding_bytes = 0;    ///< decoded frames held at a time, at most
  std::int64_t activation_bytes = 0;  ///< slices and vision rows held at a time, workspaces
};

class Session;

/// A model and what it needs to answer. Thread-safe, but for being moved: as many requests as there
/// are replicas are answered at a time, others wait. worker_pool.h has threads and a queue for
/// them.
class Engine {
 public:
  /// Opens a model directory. Throws Error as open_model.
  static Engine open(const std::filesystem::path& model_dir, const EngineOptions& options = {});
  /// Takes a model made elsewhere (tests with fakes).
  Engine(Model model, const EngineOptions& options);
  Engine(Engine&&) noexcept;
  Engine& operator=(Engine&&) noexcept;
  ~Engine();

  /// Answers one request that stands alone. Throws Error: kInvalidArgument, what opening and
  /// decoding media throw, kLimit (a prompt longer than max_position_embeddings or a limit: before
  /// any work), kOutOfMemory, kCancelled (while waiting for a replica too). The engine stays usable
  /// after any of them.
  Answer ask(const Request& request);

  /// What ask(request) would cost. Opens the media, decodes nothing. Throws as ask. A medium read
  /// from a pipe is used up by it.
  RequestPlan plan(const Request& request);

  const Model& model() const noexcept;
  const Limits& limits() const noexcept;
  int replicas() const noexcept;

 private:
  friend class Session;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A conversation: what was seen and said stays in the KV cache, so that a follow-up question costs
/// its own tokens only. Does not outlive its engine. One turn at a time; sessions of one engine may
/// take turns at the same time.
class Session {
 public:
  /// Room for `context` tokens in all; 0: max_position_embeddings (pages are taken as they fill).
  explicit Session(Engine& engine, std::int64_t context = 0);
  Session(Session&&) noexcept;
  Session& operator=(Session&&) noexcept;
  ~Session();

  /// Appends the messages and answers. Throws as Engine::ask; the conversation is then as before.
  Answer ask(const Request& request);

  /// Tokens held so far.
  std::int64_t length() const noexcept;

 private:
  friend class Engine;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::pipeline
