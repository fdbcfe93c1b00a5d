// Where packed weights are kept between runs.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace reelm::pipeline {

/// Packed weights of this size are kept without being asked for: packing 64 MB takes 0.03 (bf16) to
/// 0.24 (int4) CPU seconds, by the times of the 2B model.
inline constexpr std::int64_t kKeptUnaskedBytes = std::int64_t{64} << 20;

/// Whether and where open_model keeps packed weights: a file of the same bytes that packing makes,
/// one for a model directory and its types, good for every instruction set. The next opening maps
/// it instead of packing.
struct PackedCache {
  enum class Mode {
    /// What $REELM_PACKED_CACHE says ("auto", "off" or a directory); else
    /// <model>/reelm-packed-<dtype>-<vision dtype>.safetensors where it is there, else a file in
    /// $XDG_CACHE_HOME/reelm (~/.cache/reelm) for packed weights of 64 MB and more.
    kAuto,
    kOff,
    kDirectory,  ///< in `directory`, weights of any size; it is made when it is not there
  };
  Mode mode = Mode::kAuto;
  /// Given the model's own directory, the file lies beside the model and moves with it.
  std::filesystem::path directory;

  /// "auto", "off", else a directory. Throws Error{kInvalidArgument} when empty.
  static PackedCache parse(const std::string& text);
};

/// Where the packed weights of an open model came from.
enum class WeightSource {
  kPacked,     ///< packed from the checkpoint just now
  kCache,      ///< a PackedCache
  kConverted,  ///< the model directory itself: one made by reelm convert
};

/// "packed", "cache", "converted".
const char* weight_source_name(WeightSource source) noexcept;

}  // namespace reelm::pipeline
