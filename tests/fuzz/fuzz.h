// What the fuzz targets share. A target defines fuzz_one() and says in its comment what its input
// means and what must hold; libFuzzer or replay.cc calls it. What must hold is a REELM_CHECK.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"

namespace reelm::fuzz {

using Bytes = std::span<const std::uint8_t>;

/// One input of a target; defined once in each program. Throws nothing.
void fuzz_one(Bytes input);

/// Whether a terminal may show it: no control characters.
inline bool is_one_line(std::string_view text) {
  return std::none_of(text.begin(), text.end(),
                      [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

/// Runs `fn`, which may throw nothing but an Error whose message is one line without control
/// characters (a terminal shows it). Returns whether it threw none.
template <typename Fn>
bool succeeds(Fn&& fn) {
  try {
    fn();
    return true;
  } catch (const Error& e) {
    const std::string_view message = e.what();
    REELM_CHECK(!message.empty() && is_one_line(message));
    return false;
  }
}

/// Takes values off an input from its beginning; zeros after its end, so that every input is one.
class Input {
 public:
  explicit Input(Bytes bytes) : rest_(bytes) {}

  bool empty() const { return rest_.empty(); }
  template <typename T>
  requires std::is_trivially_copyable_v<T> T take() {
    T value{};
    const Bytes from = bytes(sizeof value);
    if (!from.empty()) std::memcpy(&value, from.data(), from.size());
    return value;
  }
  /// A number in [least, most].
  std::int64_t number(std::int64_t least, std::int64_t most) {
    const auto range = static_cast<std::uint64_t>(most - least) + 1;
    return least + static_cast<std::int64_t>(
                       (range <= 256 ? take<std::uint8_t>() : take<std::uint32_t>()) % range);
  }
  bool coin() { return (take<std::uint8_t>() & 1) != 0; }
  /// At most `n` bytes.
  Bytes bytes(std::size_t n) {
    const Bytes taken = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  /// Bytes up to `end`, which is dropped, or all.
  Bytes until(std::uint8_t end) {
    const auto found = std::find(rest_.begin(), rest_.end(), end);
    const Bytes taken = bytes(static_cast<std::size_t>(found - rest_.begin()));
    bytes(1);
    return taken;
  }

 private:
  Bytes rest_;
};

inline std::string_view text(Bytes bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Whether one file with `bytes` was written to `path`.
inline void write_file(const std::filesystem::path& path, Bytes bytes) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
  file.close();
  REELM_CHECK(file.good());
}

/// A directory for all inputs of one run of a target, in memory where the system has such a place.
class Directory {
 public:
  Directory() {
    const std::filesystem::path shm = "/dev/shm";
    const auto parent =
        ::access(shm.c_str(), W_OK) == 0 ? shm : std::filesystem::temp_directory_path();
    std::string name = (parent / "reelm-fuzz-XXXXXX").string();
    REELM_CHECK(::mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  Directory(const Directory&) = delete;
  Directory& operator=(const Directory&) = delete;
  ~Directory() { std::filesystem::remove_all(path_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace reelm::fuzz
