// The pass over the packets: which frames there are, and when they are shown.
#include <algorithm>
#include <cmath>
#include <utility>

#include "core/throw.h"
#include "preprocess/media_impl.h"

namespace reelm::preprocess {
namespace {

// Damaged places in a row after which the rest of the file is given up.
constexpr int kMaxDamage = 64;

/// What the scan notes besides the packets.
struct Scan {
  std::vector<PacketEntry> packets;
  std::vector<std::uint8_t> shown;
  std::int64_t without_pts = 0;
  std::int64_t damaged_places = 0;
  std::int64_t read = 0;  // packets, also those an edit list hides
  std::int64_t longest_end = INT64_MIN;
  bool last_is_torn = false;  // the last packet lacks its end
};

/// libvpx stores frames that are only referred to as packets of their own (VP8 always, VP9 when
/// they are not wrapped in a superframe); nothing is shown for them.
bool is_hidden(AVCodecID codec, const AVPacket& packet) {
  if (packet.size < 1) return false;
  const std::uint8_t first = packet.data[0];
  if (codec == AV_CODEC_ID_VP8) return (first >> 4 & 1) == 0;
  if (codec != AV_CODEC_ID_VP9) return false;
  if ((packet.data[packet.size - 1] & 0xe0) == 0xc0) return false;  // a superframe shows its last
  // frame_marker(2) profile_low profile_high [reserved] show_existing_frame frame_type show_frame
  const int profile = (first >> 5 & 1) | (first >> 4 & 1) << 1;
  int bit = profile == 3 ? 2 : 3;
  if ((first >> bit & 1) != 0) return false;  // an existing frame is shown
  bit -= 2;
  return (first >> bit & 1) == 0;
}

void note_packet(const AVPacket& packet, AVCodecID codec, Scan& scan) {
  PacketEntry entry;
  entry.key = (packet.flags & AV_PKT_FLAG_KEY) != 0;
  entry.dts = packet.dts;
  entry.pts = packet.pts;
  const bool shown = (packet.flags & AV_PKT_FLAG_DISCARD) == 0 && !is_hidden(codec, packet);
  if (packet.pts == AV_NOPTS_VALUE) ++scan.without_pts;
  const std::int64_t begin = packet.pts != AV_NOPTS_VALUE ? packet.pts : packet.dts;
  std::int64_t end = 0;
  if (shown && begin != AV_NOPTS_VALUE &&
      !__builtin_add_overflow(begin, std::max<std::int64_t>(packet.duration, 0), &end)) {
    scan.longest_end = std::max(scan.longest_end, end);
  }
  scan.last_is_torn = (packet.flags & AV_PKT_FLAG_CORRUPT) != 0;
  scan.packets.push_back(entry);
  scan.shown.push_back(shown ? 1 : 0);
}

Scan read_all(Media::Impl& media, const CancelToken* cancel) {
  Demuxer& demuxer = *media.demuxer;
  const AVCodecID codec = demuxer.video()->codecpar->codec_id;
  const PacketPtr packet = make_packet();
  Scan scan;
  int damage = 0;
  for (;;) {
    if (cancel != nullptr) cancel->check();
    const Demuxer::Read result = demuxer.read(packet.get());
    if (result == Demuxer::Read::kEnd) break;
    if (result == Demuxer::Read::kDamaged) {
      ++scan.damaged_places;
      if (++damage > kMaxDamage) break;
      continue;
    }
    damage = 0;
    ++scan.read;
    // Frame numbers of this layer's tables have 32 bits.
    if (scan.read > std::min<std::int64_t>(media.limits.frames_considered, INT32_MAX)) {
      throw_error(ErrorCode::kLimit, "{}: more than {} frames, the limit frames-considered",
                  media.source.name(), media.limits.frames_considered);
    }
    if (packet->size == 0) continue;  // AVI writes these for repeated frames
    note_packet(*packet, codec, scan);
  }
  if (scan.last_is_torn && scan.packets.size() > 1) {
    scan.packets.pop_back();
    scan.shown.pop_back();
  }
  return scan;
}

/// Gives every packet a time. Where the container stores none (AVI, raw streams) decoding times
/// serve: the same set of instants, in another order when frames are reordered.
void fill_times(Scan& scan, const AVStream& stream, PacketTable& table, FrameIndex& index,
                const std::string& name) {
  const auto n = static_cast<std::int64_t>(scan.packets.size());
  const bool mostly_missing = scan.without_pts * 2 > n;
  table.counted = scan.without_pts > 0 && stream.codecpar->video_delay > 0;
  std::int64_t step = 1;  // ticks of a frame, for packets without any time
  const AVRational rate =
      stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
  if (rate.num > 0 && rate.den > 0) {
    step = std::max<std::int64_t>(av_rescale_q(1, av_inv_q(rate), stream.time_base), 1);
  }
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
  if (guessed * 10 > n) {  // single ones are between neighbours that have
    index.warnings.push_back(fmt::format(
        "{}: {} of {} frames carry no time; spaced by the frame rate instead", name, guessed, n));
  }
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

/// Whether seeking can be trusted: times that tell packets apart, and key flags that mean
/// something.
bool can_seek(const Scan& scan, const PacketTable& table, const AVCodecParameters& p) {
  if (table.counted || scan.without_pts > 0) return false;
  std::vector<std::int64_t> times;
  times.reserve(table.packets.size());
  std::int64_t keys = 0;
  for (const PacketEntry& entry : table.packets) {
    times.push_back(entry.pts);
    keys += entry.key ? 1 : 0;
  }
  std::sort(times.begin(), times.end());
  if (std::adjacent_find(times.begin(), times.end()) != times.end()) return false;
  const AVCodecDescriptor* d = avcodec_descriptor_get(p.codec_id);
  const bool intra_only = d != nullptr && (d->props & AV_CODEC_PROP_INTRA_ONLY) != 0;
  // An MP4 without a table of key frames says that all frames are.
  if (!intra_only && keys == static_cast<std::int64_t>(table.packets.size())) return false;
  switch (p.codec_id) {  // those whose key frames are known to stand alone
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
      return intra_only;
  }
}

void fill_index(const Scan& scan, const AVStream& stream, const PacketTable& table,
                FrameIndex& index) {
  // The product first: the doubles that torchcodec's metadata holds.
  const auto seconds = [&](std::int64_t ticks) {
    return static_cast<double>(ticks) * stream.time_base.num / stream.time_base.den;
  };
  index.ticks.reserve(table.position.size());
  index.pts.reserve(table.position.size());
  index.keyframe.reserve(table.position.size());
  for (const std::int32_t i : table.position) {
    const PacketEntry& p = table.packets[static_cast<std::size_t>(i)];
    index.ticks.push_back(p.pts);
    index.pts.push_back(seconds(p.pts));
    index.keyframe.push_back(p.key ? 1 : 0);
  }
  const auto n = static_cast<double>(index.size());
  const double first = index.pts.front(), last = index.pts.back();
  double header_fps = stream.avg_frame_rate.num > 0 && stream.avg_frame_rate.den > 0
                          ? av_q2d(stream.avg_frame_rate)
                          : 0.0;
  if (header_fps <= 0 && stream.r_frame_rate.num > 0 && stream.r_frame_rate.den > 0) {
    header_fps = av_q2d(stream.r_frame_rate);
  }
  index.end_seconds =
      std::max(last, scan.longest_end == INT64_MIN ? last : seconds(scan.longest_end));
  if (index.end_seconds <= last) {  // packets without durations
    const double gap = n > 1 ? (last - first) / (n - 1) : header_fps > 0 ? 1 / header_fps : 0.0;
    index.end_seconds = last + gap;
  }
  const double span = index.end_seconds - first;
  // The header's rate first, as decord (get_avg_fps) and PyAV (average_rate) tell the references;
  // torchcodec counts instead, and a last frame stored a millisecond short then costs two frames.
  // A header that is far off (FLV: its clock of 1000) says nothing about the video.
  const double counted = span > 0 ? n / span : 0.0;
  const bool plausible =
      counted <= 0 || n < 3 || (header_fps < 1.5 * counted && counted < 1.5 * header_fps);
  index.fps = header_fps > 0 && plausible ? header_fps : counted > 0 ? counted : 1.0;
}

/// Compares with what the header promised.
void note_losses(const Scan& scan, const AVStream& stream, const AVFormatContext& context,
                 FrameIndex& index, const std::string& name) {
  if (scan.damaged_places > 0) {
    index.warnings.push_back(
        fmt::format("{}: damaged in {} places; frames there are lost", name, scan.damaged_places));
  }
  double promised = 0;
  // 2^32 - 1 ticks is how fragmented files write that they do not know.
  const bool known = stream.duration > 0 && stream.duration < std::int64_t{0xffffffff} - 1;
  if (stream.duration != AV_NOPTS_VALUE && known) {
    promised = static_cast<double>(stream.duration) * av_q2d(stream.time_base);
  } else if (stream.duration == AV_NOPTS_VALUE && context.duration != AV_NOPTS_VALUE &&
             context.duration > 0 &&
             context.nb_streams == 1) {  // sound may well go on after the last picture
    promised = static_cast<double>(context.duration) / AV_TIME_BASE;
  }
  const double found = index.end_seconds - index.pts.front();
  // One and a half frames of tolerance: the last frame's duration is often not stored.
  const bool short_in_time = promised - found > 1.5 / index.fps;
  const bool short_in_frames = stream.nb_frames > scan.read;
  index.truncated =
      scan.last_is_torn || (short_in_time && (stream.nb_frames == 0 || short_in_frames));
  if (!index.truncated) return;
  if (short_in_frames) {
    const std::int64_t lost = stream.nb_frames - index.size();
    index.warnings.push_back(
        fmt::format("{}: truncated: {} of {} frames are missing at the end ({:.1f} % of the video)",
                    name, lost, stream.nb_frames,
                    100.0 * static_cast<double>(lost) / static_cast<double>(stream.nb_frames)));
  } else if (short_in_time) {
    index.warnings.push_back(
        fmt::format("{}: truncated: {:.2f} of {:.2f} seconds are missing at the end", name,
                    promised - found, promised));
  } else {
    index.warnings.push_back(fmt::format("{}: truncated: the last frame is incomplete", name));
  }
}

}  // namespace

void scan_packets(Media::Impl& media, const CancelToken* cancel) {
  Demuxer& demuxer = *media.demuxer;
  media.index = {};
  media.table = {};
  demuxer.set_cancel(cancel);
  if (!media.at_start) demuxer.reopen();
  media.at_start = false;
  Scan scan = read_all(media, cancel);
  demuxer.set_cancel(nullptr);
  const AVStream& stream = *demuxer.video();
  fill_times(scan, stream, media.table, media.index, media.source.name());
  rank_frames(scan, media.table);
  if (media.table.position.empty()) {
    throw_error(ErrorCode::kFormat, "{}: stream {} ('{}') holds no frame", media.source.name(),
                demuxer.video_stream(), avcodec_get_name(stream.codecpar->codec_id));
  }
  media.table.seekable = can_seek(scan, media.table, *stream.codecpar);
  fill_index(scan, stream, media.table, media.index);
  note_losses(scan, stream, *demuxer.context(), media.index, media.source.name());
}

}  // namespace reelm::preprocess
