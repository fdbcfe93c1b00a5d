// Options that several subcommands share, bound to CLI11.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/limits.h"
#include "core/model_files.h"
#include "pipeline/engine.h"

namespace reelm::apps {

/// "90", "90.5", "1:30", "01:02:03.5" to seconds. Throws Error{kInvalidArgument} naming `option`.
double parse_time(const std::string& text, const std::string& option);

/// --limit-*.
void add_limits(CLI::App& app, Limits& limits);

/// --mmproj.
void add_mmproj(CLI::App& app, std::string& mmproj);

/// --kv-dtype, to be parsed by llm::parse_kv_type.
void add_kv_dtype(CLI::App& app, std::string& value);

/// --model, --mmproj and --limit-*.
struct ModelOptions {
  std::string model;   ///< empty: the default model
  std::string mmproj;  ///< of a GGUF model; empty: beside it
  Limits limits;

  void add_to(CLI::App& app);
  std::filesystem::path directory() const;
  /// Its small files, without the weights of a directory. Throws Error as open_model_source.
  ModelFiles files() const;
};

/// --dtype and --vision-dtype.
struct DtypeOptions {
  std::string decoder = "auto";
  std::string vision = "auto";

  void add_to(CLI::App& app);
  /// Throws Error{kInvalidArgument}.
  pipeline::ModelDtypes parse() const;
};

/// --lora, any number of times.
struct LoraOption {
  std::vector<std::string> given;

  void add_to(CLI::App& app);
  /// Throws Error{kInvalidArgument}.
  pipeline::Adapters parse() const;
};

/// --threads: of all loops of this process (core/parallel.h).
void add_threads(CLI::App& app);

/// --packed-cache.
struct CacheOptions {
  std::string cache = "auto";

  void add_to(CLI::App& app);
  /// Throws Error{kInvalidArgument}.
  pipeline::PackedCache parse() const { return pipeline::PackedCache::parse(cache); }
};

/// --sandbox.
struct SandboxOption {
  std::string mode = "auto";

  void add_to(CLI::App& app);
  /// To be called before anything starts a thread. Null: decode in this process, because that was
  /// asked for or, with a warning, because this system has no sandbox. Throws Error{kUnsupported}
  /// when one was asked for and there is none.
  std::unique_ptr<preprocess::Sandbox> start() const;
};

/// --fps, --frames, ..., --reference, --sample: what the model sees of a video or image.
struct SamplingArguments {
  void add_to(CLI::App& app);
  /// Throws Error{kInvalidArgument}.
  preprocess::SamplingOptions options() const;

 private:
  preprocess::SamplingOptions values_;
  std::string from_, to_;
  std::string reference_ = "qwen-vl-utils";
  std::string sample_ = "index";
};

}  // namespace reelm::apps
