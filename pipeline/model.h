// A model directory, opened: weights, tokenizer, settings; and the families that can be.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/checkpoint.h"
#include "../core/limits.h"
#include "../core/model_files.h"
#include "../kernels/matmul.h"
#include "../llm/decoder.h"
#include "../llm/mrope.h"
#include "../llm/tokenizer.h"
#include "../preprocess/config.h"
#include "../vision/encoder.h"
#include "adapter.h"
#include "generation_config.h"
#include "packed_cache.h"

namespace reelm::layers {
struct WeightLog;
}

namespace reelm::pipeline {

/// What weights and activations are multiplied in. With the quantised ones attention computes in
/// bf16, and with kInt8 and kInt4 the head (lm_head) is int8.
enum class Dtype {
  /// bf16 for a checkpoint in bf16, f32 for any other; of a converted model, what it has. Of a GGUF
  /// file, by the type most of its layers' weights have: f32 for F32, bf16 for F16 and BF16, q8_0
  /// and q4_0 for those, int4 for Q4_1 and Q4_K, int8 for the others
  kAuto,
  kF32,
  kBF16,
  kInt8,  ///< kernels::ComputeType::kInt8
  kInt4,  ///< kernels::ComputeType::kInt4
  /// Matrices stored as Q8_0 or Q4_0 stay as they are (kernels::ComputeType::kQ8_0, kQ4_0), any
  /// other is int8. Only of decoders of GGUF files that are mostly stored so.
  kQ8_0,
  kQ4_0,
};

/// Parses "auto", "f32", "bf16", "int8", "int4", "q8_0" or "q4_0"; throws Error{kInvalidArgument}
/// naming them.
Dtype parse_dtype(const std::string& name);
/// "auto", "f32", "bf16", "int8", "int4", "q8_0", "q4_0".
const char* dtype_name(Dtype dtype) noexcept;

/// The types a model is opened with.
struct ModelDtypes {
  Dtype decoder = Dtype::kAuto;
  /// kAuto: as the decoder, but bf16 beside a quantised one: the vision tower is small, and its
  /// errors reach every token.
  Dtype vision = Dtype::kAuto;
};

/// What products compute in for a dtype that is not kAuto.
kernels::ComputeType compute_type(Dtype dtype) noexcept;
/// `dtypes` without kAuto, where `stored` stands for it. Throws Error{kInvalidArgument} for kQ8_0
/// and kQ4_0 where `stored` is not that, and for vision.
ModelDtypes resolve_dtypes(const ModelDtypes& dtypes, Dtype stored);

/// Ids of the tokens that prompts are built with.
struct PromptTokens {
  llm::TokenId im_start = -1;
  llm::TokenId im_end = -1;
  llm::TokenId vision_start = -1;  ///< -1 in models that take text only
  llm::TokenId vision_end = -1;
  llm::VisionTokenIds placeholders;
  /// A message's role, the newline behind it and its text are encoded one by one, as the first
  /// Qwen's make_context does; else in one piece.
  bool header_apart = false;
};

class PromptFormat;
/// The default of Model::prompt_format (prompt_format.h).
const PromptFormat& chatml_format();

/// The system message that prompts begin with where neither the user nor the model's chat template
/// says another: that of the Qwen2 and Qwen2-VL Instruct models.
inline constexpr const char* kDefaultSystemPrompt = "You are a helpful assistant.";

/// Everything of a model that does not change while it answers.
struct Model {
  std::filesystem::path directory;  ///< or the GGUF file
  ModelFiles files;                 ///< config.json and the others, wherever they come from
  std::string model_type;           ///< of config.json
  ModelDtypes dtypes;               ///< never kAuto
  WeightSource weight_source = WeightSource::kPacked;
  std::vector<std::string> warnings;  ///< of opening it, one line each: trouble with the cache
  std::shared_ptr<const Checkpoint> checkpoint;
  std::shared_ptr<const SafetensorsFile> cache;  ///< packed weights in use; else null
  std::shared_ptr<const llm::Tokenizer> tokenizer;
  std::unique_ptr<vision::VisionEncoder> vision;  ///< null in families that take text only
  std::unique_ptr<llm::Decoder> decoder;
  preprocess::PreprocessorConfig preprocessor;
  GenerationConfig generation;
  const PromptFormat* prompt_format = &chatml_format();  ///< never null; lives forever
  PromptTokens tokens;                                   ///< of ChatML
  double tokens_per_second = 0;  ///< positions in a second of video; 0: one a temporal patch
  /// Each temporal patch of a video is a grid of its own in the prompt, behind its time as text.
  bool slice_timestamps = false;
  /// Of prompts without a system message; none: they stay without.
  std::optional<std::string> default_system = kDefaultSystemPrompt;

  /// Another model over the same weights and tokenizer, for a second request at the same time: its
  /// encoder and decoder have workspaces of their own. Throws Error{kOutOfMemory}.
  Model replica() const;

  /// Throws Error{kInvalidArgument} naming the medium when the family takes text only.
  void check_takes_media(const std::string& name) const;

  /// Throws Error{kIo} naming the file of weights that was cut short while it was mapped, where the
  /// program called guard_mapped_files().
  void check_intact() const;
};

/// A family that can be opened, for messages and tables.
struct FamilyInfo {
  std::string model_type;   ///< "qwen2_vl"
  std::string name;         ///< "Qwen2-VL"
  std::string takes;        ///< "text, images, videos"
  std::string checkpoints;  ///< the published ones
};

/// Every family that can be opened, sorted by model_type.
std::vector<FamilyInfo> supported_families();

/// Every `model_type` of them, once.
std::vector<std::string> supported_model_types();

/// `model_type` of config.json. Throws Error: kNotFound (no directory, no config.json), kFormat.
std::string read_model_type(const ModelFiles& files, const Limits& limits = {});

/// How a model is opened.
struct OpenOptions {
  ModelDtypes dtypes = {};
  Limits limits = {};
  PackedCache packed_cache = {};
  /// Merged into the weights one after the other. Such weights are packed at each opening: the
  /// packed cache is neither read nor filled.
  Adapters adapters = {};
  std::filesystem::path mmproj = {};    ///< of a GGUF model: the file with its vision tower
  const CancelToken* cancel = nullptr;  ///< polled between weights, while hashing and writing
  layers::WeightLog* log = nullptr;     ///< filled when not null: keeps the packed weights alive
};

/// Opens a directory in the Hugging Face layout, or one that reelm convert made of one, or a GGUF
/// file (model_source.h, whose errors are thrown too; a directory that holds one is as good).
/// Throws Error naming what is missing or does not fit: kNotFound, kFormat (damaged converted
/// weights too), kUnsupported (a model_type of another family: lists the known ones; converted
/// weights of another layout version), kInvalidArgument (dtypes other than those it was converted
/// to, adapters for converted weights), kLimit, kOutOfMemory (weights larger than the memory that
/// is free), kCancelled; and as layers::LoraAdapter.
Model open_model(const std::filesystem::path& path, const OpenOptions& options = {});

/// The model to use when none is named: $REELM_MODEL; else the demo model, at
/// <program>/../share/reelm/models/demo of an installed prefix, or models/demo above the program in
/// a build tree. Throws Error{kNotFound} listing the places.
std::filesystem::path default_model_directory();

/// Bytes of memory the system could give now (MemAvailable of /proc/meminfo); 0 where unknown.
std::int64_t available_memory_bytes() noexcept;

}  // namespace reelm::pipeline
