// Read-only memory mapping of a regular file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

namespace reelm {

/// The bytes of a file, mapped and never copied. Movable; the mapping lives as long as the object.
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

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace reelm
