// Files of packed weights: a safetensors file whose packed tensors (U8) come first and are 64-byte
// aligned. The cache writes them, and reelm convert with the other tensors behind. Not installed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>

#include "core/checkpoint.h"
#include "layers/weight_reader.h"
#include "pipeline/model.h"

namespace reelm::pipeline {

// Keys of __metadata__, all of whose values are text. `checksum` is hash_tensors of all tensors,
// sorted by name.
inline constexpr const char* kPackedFormat = "reelm-packed";  // value of "format"
inline constexpr const char* kKeyFormat = "format";
inline constexpr const char* kKeyLayout = "layout_version";  // kernels::kPackedLayoutVersion
inline constexpr const char* kKeyModelType = "model_type";
inline constexpr const char* kKeyDtype = "dtype";
inline constexpr const char* kKeyVisionDtype = "vision_dtype";
inline constexpr const char* kKeyContent = "content";  // hash_tensors of what was packed
inline constexpr const char* kKeyChecksum = "checksum";
// Of converted models: elements of the tensors before packing, in all and in the vision tower.
inline constexpr const char* kKeyParameters = "parameters";
inline constexpr const char* kKeyVisionParameters = "vision_parameters";

/// The value of a key, or "".
std::string metadata_value(const SafetensorsFile& file, const char* key);

/// The entries that say what the weights are; without `content` and `checksum`.
std::map<std::string, std::string> packed_metadata(const std::string& model_type,
                                                   const ModelDtypes& dtypes);

/// Whether the file says that it holds packed weights, of any layout version.
bool is_packed_file(const SafetensorsFile& file);

/// Reads all of the file. Throws Error{kFormat} naming it unless the data has the checksum that
/// __metadata__ holds, {kIo}, {kCancelled} (`cancel` may be null).
void check_packed_file(const SafetensorsFile& file, const CancelToken* cancel);

/// Writes `log.packed`, then `log.stored` as `checkpoint` has them (null: not at all), with
/// `metadata` and the checksum; of those, quantised ones (a GGUF file's embeddings) as BF16, the
/// only ones that take memory. Takes a pass over the data for the checksum. Throws as
/// write_safetensors.
void write_packed_file(const std::filesystem::path& path, const layers::WeightLog& log,
                       const Checkpoint* checkpoint, std::map<std::string, std::string> metadata,
                       SafetensorsWriteOptions options = {});

/// Bytes of all packed weights.
std::int64_t packed_bytes(const layers::WeightLog& log);

}  // namespace reelm::pipeline
