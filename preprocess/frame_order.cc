#include "preprocess/frame_order.h"

#include <algorithm>
#include <utility>

#include "core/throw.h"

namespace reelm::preprocess {
namespace {

/// Ticks of a frame, for what carries no time of its own.
std::int64_t frame_step(const AVStream& stream) {
  const AVRational rate =
      stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
  if (rate.num <= 0 || rate.den <= 0) return 1;
  return std::max<std::int64_t>(av_rescale_q(1, av_inv_q(rate), stream.time_base), 1);
}

/// MPEG program streams give times to some packets only, and where frames are reordered the
/// decoding times of the others are not the missing ones: all decoding times then, moved to where
/// the display times begin.
bool use_decoding_times(Scan& scan) {
  const PacketEntry& first = scan.packets.front();
  std::int64_t shift = 0;
  const bool untold = std::any_of(scan.packets.begin(), scan.packets.end(),
                                  [](const PacketEntry& p) { return p.dts == AV_NOPTS_VALUE; });
  if (untold || first.pts == AV_NOPTS_VALUE) return false;
  if (__builtin_sub_overflow(first.pts, first.dts, &shift)) return false;
  for (PacketEntry& p : scan.packets) {
    if (__builtin_add_overflow(p.dts, shift, &p.pts)) p.pts = p.dts;
  }
  return true;
}

/// Gives every packet a time. Where the container stores none (AVI, raw streams) decoding times
/// serve: the same set of instants, in another order when frames are reordered. Returns how many
/// had neither.
std::int64_t fill_times(Scan& scan, std::int64_t step, bool reordered) {
  const auto n = static_cast<std::int64_t>(scan.packets.size());
  const bool mostly_missing = scan.without_pts * 2 > n;
  if (scan.without_pts > 0 && reordered && use_decoding_times(scan)) return 0;
  std::int64_t guessed = 0;
  std::int64_t next = 0;
  for (PacketEntry& p : scan.packets) {
    if (mostly_missing || p.pts == AV_NOPTS_VALUE) p.pts = p.dts;  // AVI: B frames have both
    if (p.pts == AV_NOPTS_VALUE) {
      p.pts = next;
      ++guessed;
    }
    if (__builtin_add_overflow(p.pts, step, &next)) next = p.pts;
  }
  return guessed;
}

/// Whether key flags mean something: an MP4 without a table of key frames says that all are.
bool has_key_flags(const Scan& scan, const AVCodecParameters& p) {
  const AVCodecDescriptor* d = avcodec_descriptor_get(p.codec_id);
  if (d != nullptr && (d->props & AV_CODEC_PROP_INTRA_ONLY) != 0) return true;
  return !std::all_of(scan.packets.begin(), scan.packets.end(),
                      [](const PacketEntry& entry) { return entry.key; });
}

/// Time of what is shown first of a key frame and the pictures that lead it: those that are stored
/// behind it and shown before it.
std::int64_t first_time_of_group(const Scan& scan, std::size_t key) {
  const std::int64_t time = scan.packets[key].pts;
  std::int64_t first = time;
  for (std::size_t i = key + 1; i < scan.packets.size() && scan.packets[i].pts < time; ++i) {
    if (scan.packets[i].key) break;
    if (scan.shown[i] != 0) first = std::min(first, scan.packets[i].pts);
  }
  return first;
}

/// Recordings that were joined begin their clock again at a key frame: such a part goes on a frame
/// after the one before. A key frame is shown after all that is stored before it; one whose time
/// is earlier begins a part. Returns where parts begin but the first.
std::vector<std::int32_t> join_clocks(Scan& scan, std::int64_t step) {
  std::int64_t latest = INT64_MIN, offset = 0;
  std::vector<std::int32_t> joints;
  for (std::size_t i = 0; i < scan.packets.size(); ++i) {
    PacketEntry& p = scan.packets[i];
    std::int64_t time = 0, begin = 0;
    if (__builtin_add_overflow(p.pts, offset, &time)) time = p.pts;
    const bool earlier = scan.shown[i] != 0 && p.key && time < latest;
    if (earlier && !__builtin_add_overflow(latest, step, &begin) &&
        !__builtin_sub_overflow(begin, first_time_of_group(scan, i), &offset)) {
      if (__builtin_add_overflow(p.pts, offset, &time)) time = begin;
      joints.push_back(static_cast<std::int32_t>(i));
    }
    p.pts = time;
    if (scan.shown[i] != 0) latest = std::max(latest, time);
  }
  return joints;
}

/// Whether the times give another order than decoders do: they fall where nothing is reordered, or
/// leave open which of two frames comes first where something is.
bool contradicts(const Scan& scan, const std::vector<std::int64_t>& sorted, int video_delay) {
  if (video_delay > 0) {
    return scan.times_lie || std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end();
  }
  std::int64_t latest = INT64_MIN;
  for (std::size_t i = 0; i < scan.packets.size(); ++i) {
    if (scan.shown[i] == 0) continue;
    if (scan.packets[i].pts < latest) return true;
    latest = scan.packets[i].pts;
  }
  return false;
}

/// Times of the frames that are shown, rising.
std::vector<std::int64_t> sorted_times(const Scan& scan) {
  std::vector<std::int64_t> times;
  for (std::size_t i = 0; i < scan.packets.size(); ++i) {
    if (scan.shown[i] != 0) times.push_back(scan.packets[i].pts);
  }
  std::sort(times.begin(), times.end());
  return times;
}

/// Takes the packets over from the scan.
void rank_frames(Scan& scan, PacketTable& table) {
  table.packets = std::move(scan.packets);
  std::vector<std::int32_t>& order = table.position;
  order.reserve(table.packets.size());
  for (std::size_t i = 0; i < table.packets.size(); ++i) {
    if (scan.shown[i] != 0) order.push_back(static_cast<std::int32_t>(i));
  }
  const auto time = [&](std::int32_t i) { return table.packets[static_cast<std::size_t>(i)].pts; };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::int32_t x, std::int32_t y) { return time(x) < time(y); });
  for (std::size_t rank = 0; rank < order.size(); ++rank) {
    table.packets[static_cast<std::size_t>(order[rank])].rank = static_cast<std::int32_t>(rank);
  }
}

/// Whether a codec's key frames are known to stand alone.
bool keys_stand_alone(AVCodecID id) {
  switch (id) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_VP8:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_MPEG1VIDEO:
    case AV_CODEC_ID_MPEG2VIDEO:
    case AV_CODEC_ID_MPEG4:
      return true;
    default:
      const AVCodecDescriptor* d = avcodec_descriptor_get(id);
      return d != nullptr && (d->props & AV_CODEC_PROP_INTRA_ONLY) != 0;
  }
}

/// Whether the times tell all packets apart, also those that are not shown.
bool all_times_differ(const PacketTable& table) {
  std::vector<std::int64_t> times;
  times.reserve(table.packets.size());
  for (const PacketEntry& entry : table.packets) times.push_back(entry.pts);
  std::sort(times.begin(), times.end());
  return std::adjacent_find(times.begin(), times.end()) == times.end();
}

}  // namespace

void order_frames(Scan& scan, const AVStream& stream, const std::string& name, PacketTable& table,
                  FrameIndex& index) {
  const AVCodecParameters& p = *stream.codecpar;
  const std::int64_t step = frame_step(stream);
  const auto n = static_cast<std::int64_t>(scan.packets.size());
  const std::int64_t guessed = fill_times(scan, step, p.video_delay > 0);
  if (guessed * 10 > n) {  // single ones are between neighbours that have
    index.warnings.push_back(fmt::format(
        "{}: {} of {} frames carry no time; spaced by the frame rate instead", name, guessed, n));
  }
  const bool keys = has_key_flags(scan, p);
  std::vector<std::int32_t> joints;
  if (keys) joints = join_clocks(scan, step);
  if (!joints.empty()) {
    scan.longest_end = INT64_MIN;  // on the clock before
    index.warnings.push_back(fmt::format(
        "{}: the clock begins again in {} places; each part goes on where the one before ended",
        name, joints.size()));
  }
  table.counted = scan.without_pts > 0 && p.video_delay > 0;
  if (!table.counted && contradicts(scan, sorted_times(scan), p.video_delay)) {
    table.counted = true;
    index.warnings.push_back(fmt::format(
        "{}: times contradict the order of the frames; they are given in rising order", name));
  }
  rank_frames(scan, table);
  table.seekable = !table.counted && scan.without_pts == 0 && joints.empty() && keys &&
                   keys_stand_alone(p.codec_id) && all_times_differ(table);
  const bool numbered = p.codec_id == AV_CODEC_ID_H264 || p.codec_id == AV_CODEC_ID_HEVC;
  if (numbered && !table.counted) table.restarts = std::move(joints);
}

}  // namespace reelm::preprocess
