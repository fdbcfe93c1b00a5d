// Files that appear whole: written beside their name, synced, renamed. Not installed.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>

#include "core/cancel.h"
#include "core/leftovers.h"

namespace reelm {

/// A file that is being written as "<path>.part-<pid>-<n>". It is locked while it lives, so that
/// what a killed process left behind can be told from what another one still writes: a new one for
/// the same path removes the former. Gone with the object unless committed. Every error is
/// Error{kIo} that names `path`.
class PendingFile {
 public:
  /// `cancel` (may be null) is polled by write().
  explicit PendingFile(const std::filesystem::path& path, const CancelToken* cancel = nullptr);
  PendingFile(const PendingFile&) = delete;
  PendingFile& operator=(const PendingFile&) = delete;
  ~PendingFile();

  /// Appends. Throws Error{kIo}, {kCancelled}.
  void write(const void* data, std::size_t size);
  /// Syncs and renames to `path`: readers see the old file or the new one, never half.
  void commit();

 private:
  [[noreturn]] void fail(const char* what) const;

  std::filesystem::path path_;
  std::string pending_;
  std::optional<Leftover> leftover_;  // pending_, for a process that is told to end
  const CancelToken* cancel_;
  int fd_ = -1;
};

}  // namespace reelm
