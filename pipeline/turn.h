// The steps of one turn, in order: plan, encode, prefill, generate. Not installed.
#pragma once

#include <memory>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/trace.h"
#include "llm/sampler.h"
#include "pipeline/engine.h"
#include "pipeline/prompt.h"
#include "preprocess/patch_reader.h"

namespace reelm::pipeline {

class PromptPrefill;

/// An opened medium and what will be read from it.
struct PlannedMedium {
  std::string name;
  preprocess::Media media;
  preprocess::MediaPlan plan;
};

/// A turn's prompt with everything that is known before a frame is decoded.
struct PlannedTurn {
  std::vector<PlannedMedium> media;
  std::vector<llm::TokenId> ids;  // what is appended to the cache
  llm::MropePositions positions;  // of ids, from the conversation's next position on
  bool guided = false;            // by a second sequence, the conversation without its media
  /// What the second sequence has not taken in yet, this turn's prompt included. Text only, so that
  /// positions are indices.
  std::vector<llm::TokenId> unconditional_ids;
  std::int64_t vision_tokens = 0;
  std::int64_t max_new_tokens = 0;
};

/// Keys and values of a conversation, made when they are first needed.
struct ConversationCaches {
  std::unique_ptr<llm::KvCache> main;
  std::unique_ptr<llm::KvCache> unconditional;  // of guidance's second sequence

  std::int64_t length() const { return main == nullptr ? 0 : main->length(); }
  std::int64_t unconditional_length() const {
    return unconditional == nullptr ? 0 : unconditional->length();
  }
};

/// What a conversation carries from turn to turn.
struct ConversationState {
  std::vector<llm::TokenId> held;     // what is in the cache
  std::vector<llm::TokenId> seen;     // all ids so far, for the repetition penalty
  std::vector<llm::TokenId> pending;  // chosen but not yet in the cache: closes the last answer
  std::int64_t next_position = 0;     // of M-RoPE
  /// What guidance's second sequence has not taken in: all turns since the last that was guided,
  /// and what closes the last answer.
  std::vector<llm::TokenId> unconditional_pending;
  /// Of formats that write a conversation anew for each turn (PromptFormat::rewrites_history): all
  /// messages and answers so far.
  std::vector<Message> history;
  std::int64_t rounds = 0;  // questions so far
  bool contrast = false;    // the two sequences differ: there were media or a negative prompt
};

/// Opens and plans the media, builds the prompts, checks them against `context` positions and the
/// limits. Adds times of open and scan to `trace`.
PlannedTurn plan_turn(const Model& model, const EngineOptions& options, const Request& request,
                      const ConversationState& state, const ConversationCaches& caches,
                      std::int64_t context, Trace& trace);

/// The state of the same conversation, of text only, while nothing of it is in the main cache: the
/// next turn takes in all of it.
ConversationState begun_again(const ConversationState& state);

/// The state of a conversation whose next turn is written anew from its history, while nothing of
/// it is in the caches.
ConversationState rewritten(const ConversationState& state);

/// Positions that the turn fills at most, of both sequences.
std::int64_t new_positions(const PlannedTurn& turn);

/// Bytes of frames that the decoder holds at a time, at their most: media are read one by one.
std::int64_t decoding_bytes(const PlannedTurn& turn);

/// Bytes of the slices and vision rows held at a time and of the workspaces, at their largest.
std::int64_t activation_bytes(const Model& model, const EngineOptions& options,
                              const Request& request, const PlannedTurn& turn);

/// Reads, resizes and encodes all media slice by slice and hands the rows to `prefill`, which takes
/// in what it can. Fills one report a medium. Reads ahead if options.overlap says so.
void encode_media(Model& model, const EngineOptions& options, const Request& request,
                  PlannedTurn& turn, PromptPrefill& prefill, std::vector<MediaReport>& reports,
                  Trace& trace);

/// The sampling settings of a request: its options over the model's.
llm::SamplingConfig sampling_config(const GenerationConfig& model,
                                    const GenerationOptions& options);

/// Prefills the rest of the turn's prompt and generates the answer; advances `state`.
void generate(Model& model, const Request& request, const PlannedTurn& turn, PromptPrefill& prefill,
              ConversationCaches& caches, ConversationState& state, Answer& answer);

}  // namespace reelm::pipeline
