// What the commands that answer questions share: their options, the engine, the printing.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "pipeline/engine.h"

namespace reelm::apps {

/// An engine and the processes its media are decoded in.
struct OpenEngine {
  std::unique_ptr<preprocess::Sandbox> sandbox;  ///< outlives the engine; null: there is none
  pipeline::Engine engine;
};

/// How the model is opened, what it sees of media and how it answers.
struct AnswerOptions {
  ModelOptions model;
  LoraOption lora;
  SamplingArguments sampling;
  pipeline::GenerationOptions generation;
  std::string system;
  DtypeOptions dtypes;
  CacheOptions cache;
  SandboxOption sandbox;
  std::string kv_dtype = "auto";
  std::string position_rule = "paper";
  bool no_overlap = false;
  bool quiet = false;
  TimeoutOption timeout;

  void add_to(CLI::App& app);

  /// To be called before anything starts a thread. Warns of what opening the model met. Throws
  /// Error.
  OpenEngine open() const;

  /// A turn: media, then the text; ends with Ctrl-C. `system_message` (if not empty) comes before
  /// it. Throws Error{kInvalidArgument}.
  pipeline::Request request(const std::vector<preprocess::MediaSource>& media,
                            const std::string& text, const std::string& system_message) const;

  /// Warnings on standard error, unless --quiet.
  void warn_all(const std::vector<std::string>& warnings) const;
  void warn_all(const std::vector<pipeline::MediaReport>& media) const;
};

/// Makes `request` show its progress in `progress`, which outlives it.
void show_progress(pipeline::Request& request, ProgressLine& progress);

}  // namespace reelm::apps
