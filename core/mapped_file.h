// Read-only memory mapping of a regular file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "limits.h"

namespace reelm {

/// The bytes of a file, mapped and never copied. Movable; the mapping lives as long as the object.
///
/// Pages of a file that another process cuts short, or that the disk cannot read, raise SIGBUS when
/// they are touched. After guard_mapped_files() they read as zeros instead, and check_intact()
/// tells.
class MappedFile {
 public:
  MappedFile() = default;
  /// Throws Error: kNotFound (no such file), kIo (a directory, no permission, map refused). An
  /// empty file maps to an empty span.
  explicit MappedFile(const std::filesystem::path& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::span<const std::byte> bytes() const noexcept { return {data_, size_}; }
  const std::filesystem::path& path() const noexcept { return path_; }
  /// Throws Error{kIo} naming the file when a page of it was lost since it was mapped: what was
  /// computed from it is worthless then.
  void check_intact() const;

  /// A mapping as the signal handler knows it.
  struct Range;

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
  Range* range_ = nullptr;  // null: empty, or one too many to be guarded
};

/// Maps a file that is parsed as a whole and is no JSON: a vocabulary, a template. Throws as
/// MappedFile, and Error{kLimit} when it is longer than Limits::json_bytes.
MappedFile map_parsed_file(const std::filesystem::path& path, const Limits& limits);

/// Installs the handler of SIGBUS that makes lost pages of mapped files zeros, once for the
/// process. Programs call it when they start; a library must not take a signal from its program
/// unasked. Faults outside of mapped files (and beyond the first 1024 of them) go to the handler
/// before.
void guard_mapped_files();

}  // namespace reelm
