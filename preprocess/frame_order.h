// Packets with their times to frames in the order they are shown. Not installed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "preprocess/ffmpeg.h"
#include "preprocess/media_impl.h"

namespace reelm::preprocess {

/// What the pass over the packets notes besides them.
struct Scan {
  std::vector<PacketEntry> packets;
  std::vector<std::uint8_t> shown;
  std::int64_t without_pts = 0;
  std::int64_t damaged_places = 0;
  std::int64_t read = 0;  // packets, also those an edit list hides
  std::int64_t longest_end = INT64_MIN;
  bool last_is_torn = false;  // the last packet lacks its end
  bool times_lie = false;     // see ReorderWatch
};

/// Gives every packet of `scan` a time, takes the packets over into `table` and ranks them. Where
/// times contradict what decoders do, the order in which the decoder gives the frames counts, as in
/// PyAV, and a warning says so. Where recordings were joined, each part is placed behind the one
/// before it. Decoders of H.264 and HEVC order frames by numbers that begin anywhere in a part cut
/// from an open group, and mix the parts up or leave frames out: `table.restarts` are the joints
/// of these.
void order_frames(Scan& scan, const AVStream& stream, const std::string& name, PacketTable& table,
                  FrameIndex& index);

}  // namespace reelm::preprocess
