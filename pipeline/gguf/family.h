// Model families as GGUF files have them, and what they are called for Hugging Face. Not installed.
#pragma once

#include <span>
#include <string>

#include "core/gguf.h"
#include "core/json.h"

namespace reelm::pipeline::gguf {

/// How modules are called in the two layouts, without ".weight" or ".bias"; "{}" is a number.
struct ModuleName {
  const char* gguf;
  const char* hugging_face;
};

/// Several tensors of a GGUF file that are one for Hugging Face, their names with ".weight" or
/// ".bias" left out as above.
struct JoinedName {
  enum class How {
    kRows,    ///< stacked by rows, in the order of `gguf`
    kFrames,  ///< Conv2d weights [out, in, h, w] of one frame each: Conv3d [out, in, frames, h, w]
  };
  How how;
  std::span<const char* const> gguf;
  const char* hugging_face;
};

/// A tower that comes in a file of its own (mmproj), by its `clip.projector_type`.
struct Projector {
  const char* type;
  std::span<const ModuleName> names;
  std::span<const JoinedName> joined;
  /// Whether the old converter wrote `v.blk.N.ffn_up` and `ffn_down` the wrong way round.
  bool (*swapped_mlp)(const GgufFile& file);
  /// Adds what config.json and preprocessor_config.json say of the tower. Throws Error naming file
  /// and key.
  void (*configure)(const GgufFile& text, const GgufFile& file, Json& config, Json& preprocessor);
};

/// A family, by its `general.architecture`.
struct Family {
  const char* architecture;
  std::span<const ModuleName> names;
  const Projector* projector;  ///< null: text only
  /// config.json. Throws Error naming file and key.
  Json (*config)(const GgufFile& file);
};

extern const Family kQwen2;
extern const Family kQwen2Vl;

/// The family of a file. Throws Error{kUnsupported} listing those that are known.
const Family& find_family(const GgufFile& file);

/// A key that must be there, of `general.architecture` where it begins with '.'. Throw
/// Error{kFormat} naming file and key.
std::int64_t required_integer(const GgufFile& file, const std::string& key, std::int64_t max);
std::string required_string(const GgufFile& file, const std::string& key);

/// What config.json has of a decoder of the Qwen2 kind.
Json qwen2_decoder_config(const GgufFile& file);

}  // namespace reelm::pipeline::gguf
