// What the pipeline knows of a language model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "../core/cancel.h"
#include "../core/tensor_view.h"
#include "kv_cache.h"
#include "tokenizer.h"

namespace reelm::llm {

/// A run of prompt tokens to take in.
struct PromptInput {
  std::span<const TokenId> ids;                 // [n]
  TensorView<const std::int64_t> position_ids;  // [3, n]: t, h, w of M-RoPE
  /// Rows that stand in for the image and video placeholder tokens among `ids`, in their order:
  /// [n_vision_tokens, hidden_size]; exactly as many rows as there are placeholders. Of families
  /// with deep-stack features [n_vision_tokens, (1 + k) * hidden_size]: those that are added to the
  /// residual behind each of the first k layers stand behind the row's own values.
  TensorView<const float> vision_embeds;
  /// Tokens of the whole prompt where this is its first piece; at least ids.size() is assumed.
  /// Position encodings that stretch with the prompt go by that of the one a cache begins with.
  std::int64_t prompt_length = 0;
};

/// One sequence's part of a batched step.
struct BatchRow {
  TokenId token = -1;
  std::int64_t position = 0;  // the same in all three of M-RoPE's components
  KvCache* cache = nullptr;   // the sequence's own: of no other row
};

/// A causal language model. Immutable weights; the state of a conversation is its KvCache. One
/// forward pass at a time per decoder.
class Decoder {
 public:
  virtual ~Decoder() = default;

  /// Another decoder over the same weights, with a workspace of its own: the two may run at the
  /// same time, with caches of either. Throws Error{kOutOfMemory}.
  virtual std::unique_ptr<Decoder> replica() const = 0;

  virtual std::int64_t vocab_size() const = 0;
  virtual std::int64_t hidden_size() const = 0;
  virtual std::int64_t max_position_embeddings() const = 0;
  virtual KvCache::Shape kv_shape() const = 0;
  /// The type the cache should have for the weights' compute type, unless another is asked for:
  /// prefill and step take a cache of any.
  virtual KvType kv_type() const = 0;

  /// Appends the input to the cache. `logits` [vocab_size] receives those of the last position; an
  /// empty view skips the head (more of the prompt follows). Throws Error: kLimit when the cache is
  /// too small, kInvalidArgument when ids, positions or vision rows do not fit, kCancelled between
  /// layers; the cache is then as long as before.
  virtual void prefill(const PromptInput& input, KvCache& cache, TensorView<float> logits,
                       const CancelToken* cancel) = 0;
  /// Whether a conversation that is in `cache` goes on there when a next prompt makes it `length`
  /// tokens long; else it has to be taken in again from its start, because longer prompts are
  /// encoded otherwise.
  virtual bool goes_on(const KvCache& /*cache*/, std::int64_t /*length*/) const { return true; }
  /// Tokens that prefill takes through the layers at a time. A prompt given in several calls, each
  /// but the last a multiple of this long, fills the cache and ends in logits as one call would,
  /// bit for bit.
  virtual std::int64_t prefill_rows() const = 0;

  /// One more token of each of several sequences, in one pass over the weights. `logits`
  /// [rows.size(), vocab_size], rows may be strided. Sequences may differ in length and in the type
  /// of their caches; a row's logits are those of the row alone but for the order of sums. 1 to
  /// prefill_rows() rows. Throws Error before any work, so that all caches are as before: kLimit
  /// when a cache is full, kInvalidArgument when tokens, rows or logits do not fit or two rows
  /// share a cache.
  virtual void step_batch(std::span<const BatchRow> rows, TensorView<float> logits) = 0;

  /// A batch of one: logits [vocab_size].
  void step(TokenId token, std::int64_t position, KvCache& cache, TensorView<float> logits) {
    const BatchRow row = {token, position, &cache};
    step_batch({&row, 1}, {logits.data(), {1, logits.numel()}});
  }

  /// Bytes of the weights as held in memory.
  virtual std::size_t weight_bytes() const = 0;
  /// Bytes of activations at most, whatever the prompt's length.
  virtual std::size_t workspace_bytes() const = 0;
};

}  // namespace reelm::llm
