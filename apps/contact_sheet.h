// Frames with their times, drawn side by side as one PNG.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/tensor_view.h"

namespace reelm::apps {

/// Collects frames of equal size and encodes the sheet.
class ContactSheet {
 public:
  /// `count` frames of height x width pixels will come; `columns` 0: about as wide as high. Frames
  /// are drawn at `tile_width` (0: as they are, but at most 320 pixels wide, fewer when there are
  /// many).
  ContactSheet(std::int64_t count, std::int64_t height, std::int64_t width, std::int64_t columns,
               std::int64_t tile_width);
  ~ContactSheet();
  ContactSheet(const ContactSheet&) = delete;
  ContactSheet& operator=(const ContactSheet&) = delete;

  /// The next frame, RGB8 [height, width, 3], and what is written below it.
  void add(TensorView<const std::uint8_t> frame, const std::string& caption);

  /// The sheet as PNG. Throws Error{kOutOfMemory}.
  std::vector<std::byte> png() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// "0:01.500", "1:02:03.000".
std::string format_time(double seconds);

}  // namespace reelm::apps
