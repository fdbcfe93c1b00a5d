// The pass over the packets: which frames there are, and when they are shown.
#include <algorithm>
#include <cmath>

#include "core/throw.h"
#include "preprocess/frame_order.h"
#include "preprocess/media_impl.h"
#include "preprocess/reorder_watch.h"

namespace reelm::preprocess {
namespace {

// Damaged places in a row after which the rest of the file is given up.
constexpr int kMaxDamage = 64;

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
  ReorderWatch watch(*demuxer.video()->codecpar);
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
    watch.look(*packet);
  }
  scan.times_lie = watch.times_lie();
  if (scan.last_is_torn && scan.packets.size() > 1) {
    scan.packets.pop_back();
    scan.shown.pop_back();
  }
  return scan;
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
  const double gap = n > 1 ? (last - first) / (n - 1) : header_fps > 0 ? 1 / header_fps : 0.0;
  index.end_seconds =
      std::max(last, scan.longest_end == INT64_MIN ? last : seconds(scan.longest_end));
  if (index.end_seconds <= last) index.end_seconds = last + gap;  // packets without durations
  const auto rate = [&] {
    const double span = index.end_seconds - first;
    return span > 0 ? n / span : 0.0;
  };
  const double counted = rate();
  // The header's rate first, as decord (get_avg_fps) and PyAV (average_rate) tell the references;
  // torchcodec counts instead, and a last frame stored a millisecond short then costs two frames.
  // A header that is far off (FLV: its clock of 1000) says nothing about the video.
  const bool plausible =
      counted <= 0 || n < 3 || (header_fps < 1.5 * counted && counted < 1.5 * header_fps);
  // Nor do the durations that FFmpeg takes from it.
  if (!plausible) index.end_seconds = std::max(index.end_seconds, last + gap);
  index.fps = header_fps > 0 && plausible ? header_fps : counted > 0 ? rate() : 1.0;
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
  double found = index.end_seconds - index.pts.front();
  // Matroska's duration counts from zero, wherever the first frame is.
  if (stream.duration == AV_NOPTS_VALUE) found = std::max(found, index.end_seconds);
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

/// What is not done to the frames, in words: nothing here is an error, and the references do not
/// either.
void note_what_is_left(const MediaInfo& info, FrameIndex& index) {
  const StreamInfo& s = info.video();
  const auto videos =
      std::count_if(info.streams.begin(), info.streams.end(),
                    [](const StreamInfo& x) { return x.type == "video" && !x.cover; });
  if (videos > 1) {
    index.warnings.push_back(fmt::format("{}: {} video streams; stream {} ({}x{}) is the one read",
                                         info.name, videos, s.index, s.width, s.height));
  }
  if (s.is_hdr()) {
    index.warnings.push_back(
        fmt::format("{}: HDR ({}) is not tone-mapped; colours are paler than they are shown",
                    info.name, s.color_transfer));
  }
  if (s.is_interlaced()) {
    index.warnings.push_back(
        fmt::format("{}: interlaced ({}); the two fields of a frame are not separated", info.name,
                    s.field_order));
  }
}

/// The same for an animated WebP, whose header has it all.
void index_animation(Media::Impl& media, const WebpTimes& times) {
  FrameIndex& index = media.index;
  const auto n = static_cast<std::int64_t>(times.begin.size());
  if (n > media.limits.frames_considered) {
    throw_error(ErrorCode::kLimit, "{}: {} frames, over the limit frames-considered ({})",
                media.source.name(), n, media.limits.frames_considered);
  }
  index.truncated = times.truncated;
  if (!times.loss.empty()) index.warnings.push_back(times.loss);
  index.ticks = times.begin;
  for (const std::int64_t t : times.begin) {
    index.pts.push_back(static_cast<double>(t) / kWebpTicks);
    index.keyframe.push_back(index.pts.size() == 1 ? 1 : 0);
  }
  index.end_seconds = static_cast<double>(times.end) / kWebpTicks;
  index.fps = times.end > 0 ? static_cast<double>(n) / index.end_seconds : 1.0;
}

void scan_packets(Media::Impl& media, const CancelToken* cancel) {
  Demuxer& demuxer = *media.demuxer;
  demuxer.set_cancel(cancel);
  if (!media.at_start) demuxer.reopen();
  media.at_start = false;
  Scan scan = read_all(media, cancel);
  demuxer.set_cancel(nullptr);
  const AVStream& stream = *demuxer.video();
  order_frames(scan, stream, media.source.name(), media.table, media.index);
  if (media.table.position.empty()) {
    throw_error(ErrorCode::kFormat, "{}: stream {} ('{}') holds no frame", media.source.name(),
                demuxer.video_stream(), avcodec_get_name(stream.codecpar->codec_id));
  }
  fill_index(scan, stream, media.table, media.index);
  note_losses(scan, stream, *demuxer.context(), media.index, media.source.name());
  note_what_is_left(media.info, media.index);
}

}  // namespace

void scan_frames(Media::Impl& media, const CancelToken* cancel) {
  media.index = {};
  media.table = {};
  if (media.animation) return index_animation(media, *media.animation);
  scan_packets(media, cancel);
}

}  // namespace reelm::preprocess
