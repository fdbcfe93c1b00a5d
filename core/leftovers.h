// What a process that has to end at once would leave behind. Not installed.
#pragma once

#include <filesystem>

namespace reelm {

/// The name of a file that is being written, or of a directory made for such files, while the
/// object lives. Of the 64 first at a time; later ones, and names over 4095 bytes, are not noted.
class Leftover {
 public:
  explicit Leftover(const std::filesystem::path& path) noexcept;
  Leftover(const Leftover&) = delete;
  Leftover& operator=(const Leftover&) = delete;
  ~Leftover() { forget(); }

  /// The file is complete (or gone): it stays from now on.
  void forget() noexcept;

  /// Removes all that is noted: files, then directories where they are empty. Safe in a signal
  /// handler; only for a process that ends right after.
  static void remove_all() noexcept;

 private:
  struct Slot;
  static Slot slots[64];
  Slot* slot_ = nullptr;
};

}  // namespace reelm
