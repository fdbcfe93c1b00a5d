// The small files of a model: config.json, tokenizer, templates.
#pragma once

#include <concepts>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "limits.h"

namespace reelm {

/// The files by name: those of a directory; or texts that were made from what another kind of file
/// says (a GGUF file's metadata), so that whoever reads settings need not know which it is.
class ModelFiles {
 public:
  ModelFiles() = default;
  /// Those of a directory. A path is as good wherever files are wanted.
  template <typename Path>
  requires std::convertible_to<const Path&, std::filesystem::path> ModelFiles(
      const Path& directory)  // NOLINT(google-explicit-constructor)
      : path_(directory) {}
  /// Texts by file name, made from `source`; copies share them.
  using Texts = std::map<std::string, std::string, std::less<>>;
  ModelFiles(std::filesystem::path source, Texts texts)
      : path_(std::move(source)), texts_(std::make_shared<const Texts>(std::move(texts))) {}

  /// The directory, or the file that the texts were made from.
  const std::filesystem::path& path() const noexcept { return path_; }
  /// Whether the texts were made: there is no directory.
  bool made() const noexcept { return texts_ != nullptr; }

  /// Whether something of that name is there.
  bool has(std::string_view name) const;
  /// For messages: "DIR/config.json", or "x.gguf (config.json)".
  std::string where(std::string_view name) const;
  /// Its bytes. Throws Error naming it: kNotFound, kIo, kLimit (over Limits::json_bytes).
  std::string read(std::string_view name, const Limits& limits = {}) const;

 private:
  std::filesystem::path path_;
  std::shared_ptr<const Texts> texts_;
};

}  // namespace reelm
