// A golden file of tools/make_golden.py. Not installed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "core/json.h"
#include "core/safetensors.h"
#include "pipeline/engine.h"

namespace reelm::pipeline {

/// One medium of a golden.
struct GoldenMedium {
  std::filesystem::path path;  // resolved against the golden's directory
  std::vector<std::uint32_t> frames_crc32;
};

/// The file with its metadata understood. Format: tests/goldens/README.md.
class Golden {
 public:
  /// Throws Error as SafetensorsFile::open, and kFormat naming the metadata key that is wrong.
  Golden(const std::filesystem::path& path, const Limits& limits);

  const std::filesystem::path& path() const noexcept { return path_; }
  const std::string& text(const char* key) const;     // metadata, must be there
  std::int64_t integer(const char* key) const;        // metadata, must be there
  std::int64_t row_stride(const char* tensor) const;  // its metadata, at least 1
  bool has(const char* tensor) const { return file_.find(tensor) != nullptr; }
  std::vector<float> floats(const char* tensor) const;           // F32
  std::vector<std::int64_t> integers(const char* tensor) const;  // I64
  std::int64_t columns(const char* tensor) const;                // last size of a tensor
  std::int64_t rows(const char* tensor) const;                   // first size of a tensor

  /// Model directory as the golden names it; throws when it names none (random models).
  std::filesystem::path model_directory() const;
  const std::vector<GoldenMedium>& media() const noexcept { return media_; }
  /// The request that reproduces the golden: greedy, no repetition penalty.
  Request request(const std::vector<std::filesystem::path>& media) const;

 private:
  std::filesystem::path path_;
  SafetensorsFile file_;
  std::vector<GoldenMedium> media_;
};

}  // namespace reelm::pipeline
