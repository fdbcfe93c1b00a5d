// Writing to the outside: standard output that notices a full disk, files that appear whole.
#pragma once

#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace reelm::apps {

/// Writes to standard output. Throws Error{kIo} when it cannot, {kCancelled}.
void write_stdout(std::string_view text);

/// "reelm: warning: ..." on standard error.
void warn(std::string_view message);

/// Reads standard input to its end, `limit` bytes at most. Throws Error{kIo}, {kLimit},
/// {kCancelled}.
std::string read_stdin(std::int64_t limit);

/// Throws Error{kIo} unless a file could be written there: said before the work, not after it.
void check_writable(const std::filesystem::path& path);

/// Writes beside `path` and renames: readers see the old file or the new one, never half.
/// Throws Error{kIo}, {kCancelled}; nothing is left behind then.
void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes);

/// A line of progress on standard error, when that is a terminal; rewritten in place.
class ProgressLine {
 public:
  explicit ProgressLine(bool enabled);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void show(std::string_view text);
  void clear();

 private:
  bool enabled_;
  bool shown_ = false;
};

}  // namespace reelm::apps
