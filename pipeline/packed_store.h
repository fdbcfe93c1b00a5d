// The cached file of packed weights of one model directory. Not installed.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/cancel.h"
#include "core/safetensors.h"
#include "layers/weight_reader.h"
#include "pipeline/model.h"

namespace reelm::pipeline {

/// Looks for the file and writes it. Its key is in its __metadata__:
/// - layout version, types, model_type, a hash of config.json;
/// - a hash of the content of the checkpoint's tensors, which may lie in any files;
/// - a fingerprint of the weight files (sizes, times of change, inodes), so that the content need
///   not be read each time: where only that differs, the content is hashed, and when it is the
///   same, the new fingerprint is written into the file.
/// Trouble with the cache is a warning, never an error.
class PackedStore {
 public:
  /// `model` has directory, model_type, dtypes and checkpoint; it and `cancel` (may be null)
  /// outlive the store.
  PackedStore(const PackedCache& options, const Model& model, const Limits& limits,
              const CancelToken* cancel);

  /// The file, its checksum verified; null when there is none of use. A damaged one adds a line to
  /// `warnings`. Throws Error{kCancelled} only.
  std::shared_ptr<const SafetensorsFile> find(std::vector<std::string>& warnings);

  /// Writes the weights to where find() looks first, or next when that fails; adds a line to
  /// `warnings` when nothing could be written. Throws Error{kCancelled} only.
  void write(const layers::WeightLog& log, std::vector<std::string>& warnings);

 private:
  bool matches(const SafetensorsFile& file);
  /// Whether the weight files are still those that fingerprint_ was made of.
  bool unchanged() const;
  /// hash_tensors of the checkpoint, once.
  const std::string& content();
  void write_to(const std::filesystem::path& path, const layers::WeightLog& log);

  const Model& model_;
  const Limits& limits_;
  const CancelToken* cancel_;
  std::vector<std::filesystem::path> places_;  // where the file may be, in the order of search
  std::int64_t min_bytes_ = 0;                 // fewer are not worth a file
  std::string config_;                         // hash of config.json
  std::string fingerprint_;                    // before anything was packed
  bool settled_ = false;                       // its times are old enough to be trusted
  std::string content_;
};

}  // namespace reelm::pipeline
