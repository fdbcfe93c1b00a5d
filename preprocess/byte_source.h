// Random access to the bytes of a source, wherever they are. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "core/cancel.h"
#include "core/limits.h"
#include "preprocess/media.h"

namespace reelm::preprocess {

/// Follows an error about a path that other programs would read as an image sequence.
inline constexpr const char* kSequenceHint =
    " (image sequences are not read: name the images one by one, or make a video of them)";

/// An open file whose bytes from `begin` on are the source.
struct DescriptorRange {
  int fd = -1;
  std::int64_t begin = 0;
};

/// A regular file, an unlinked temporary file or memory. Closed with the object.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  /// Up to `n` bytes at `offset`; fewer at the end, 0 past it. Throws Error{kIo}.
  virtual std::size_t read(std::int64_t offset, void* to, std::size_t n) = 0;
  virtual std::int64_t size() const noexcept = 0;
  /// Where another process can read the same bytes; nothing for memory.
  virtual std::optional<DescriptorRange> descriptor() const noexcept { return std::nullopt; }
};

/// Opens `source`; spools what cannot be read at random. Waits for slow writers with poll, so that
/// `cancel` ends it within 50 ms.
/// Throws Error: kNotFound, kIo (directory, permission, disk full), kFormat (empty), kLimit
/// (media-bytes), kCancelled.
std::unique_ptr<ByteSource> open_byte_source(const MediaSource& source, const Limits& limits,
                                             const CancelToken* cancel);

}  // namespace reelm::preprocess
