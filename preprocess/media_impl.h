// What an opened Media holds, for the readers of this layer. Not installed.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "core/limits.h"
#include "preprocess/animation.h"
#include "preprocess/byte_source.h"
#include "preprocess/demuxer.h"
#include "preprocess/media.h"
#include "preprocess/sampling.h"

namespace reelm::preprocess {

/// One packet of the video stream, in the order it is stored (= decoded).
struct PacketEntry {
  std::int64_t pts = 0;    ///< display time; guessed where `PacketTable::counted`
  std::int64_t dts = 0;    ///< as the demuxer said; AV_NOPTS_VALUE allowed
  std::int32_t rank = -1;  ///< its frame's number in display order; -1: not shown
  bool key = false;        ///< decoding can start here
};

/// All packets, and how to find frames among them.
struct PacketTable {
  std::vector<PacketEntry> packets;
  std::vector<std::int32_t> position;  ///< [frames] where the packet of a frame is
  /// The container has no display times although frames are reordered: the n-th frame that the
  /// decoder gives is frame n. No seeking then.
  bool counted = false;
  /// Display times tell all packets apart, so a landing place can be recognised.
  bool seekable = false;
  /// Packets before which a decoder must forget what it knows: see order_frames. Rising.
  std::vector<std::int32_t> restarts;
};

/// Size of a still once decoded, by Reference.
using ImageSizes = std::array<Size, 2>;

class RemoteDecoder;

struct Media::Impl {
  Limits limits;
  MediaSource source;
  std::unique_ptr<ByteSource> bytes;
  std::unique_ptr<Demuxer> demuxer;    // videos, but for animated WebP
  std::vector<std::byte> image;        // the whole file; images and animated WebP
  std::optional<WebpTimes> animation;  // animated WebP
  ImageSizes image_sizes;
  std::unique_ptr<RemoteDecoder> remote;  // in a sandbox: instead of demuxer and image
  MediaInfo info;
  bool scanned = false;
  bool at_start = true;  // no packet was read since the demuxer was opened
  FrameIndex index;
  PacketTable table;
  double open_ms = 0;
  double scan_ms = 0;

  explicit Impl(MediaSource from);
  ~Impl();
};

/// Fills media.index and media.table from one pass over the packets (animated WebP: over its
/// chunks). See Media::frame_index.
void scan_frames(Media::Impl& media, const CancelToken* cancel);

}  // namespace reelm::preprocess
