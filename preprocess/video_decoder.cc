#include "preprocess/video_decoder.h"

#include <algorithm>

#include "core/throw.h"

namespace reelm::preprocess {
namespace {

// Reading on costs less than a seek up to here, and lands exactly.
constexpr std::int64_t kReadOn = 64;
// Damaged places in a row after which the rest of the file is given up, as in the scan.
constexpr int kMaxDamage = 64;

/// Codecs where FFmpeg drops a frame that no other refers to, given AVDISCARD_NONREF, without
/// touching the others. Not HEVC: its "sub-layer non-reference" pictures serve higher layers.
bool drops_unreferenced(AVCodecID codec) {
  return codec == AV_CODEC_ID_H264 || codec == AV_CODEC_ID_MPEG1VIDEO ||
         codec == AV_CODEC_ID_MPEG2VIDEO || codec == AV_CODEC_ID_MPEG4;
}

}  // namespace

VideoDecoder::VideoDecoder(Media::Impl& media, const Limits& limits, const CancelToken* cancel,
                           int threads, std::atomic<std::int64_t>* progress)
    : media_(media),
      limits_(limits),
      cancel_(cancel),
      progress_(progress),
      budget_(limits, media.source.name()),
      packet_(make_packet()) {
  open_codec(threads);
  last_progress_ = std::chrono::steady_clock::now();
  media_.demuxer->set_cancel(cancel_);
}

VideoDecoder::~VideoDecoder() { media_.demuxer->set_cancel(nullptr); }

void VideoDecoder::open_codec(int threads) {
  const AVCodecParameters& parameters = *media_.demuxer->video()->codecpar;
  const AVCodec* codec = avcodec_find_decoder(parameters.codec_id);
  if (codec == nullptr) {
    throw_error(ErrorCode::kUnsupported, "{}: stream {}: this FFmpeg has no decoder for '{}'",
                media_.source.name(), media_.demuxer->video_stream(),
                avcodec_get_name(parameters.codec_id));
  }
  codec_.reset(avcodec_alloc_context3(codec));
  if (!codec_ || avcodec_parameters_to_context(codec_.get(), &parameters) < 0) {
    throw_error(ErrorCode::kOutOfMemory, "{}: a decoder: allocation refused", media_.source.name());
  }
  codec_->thread_count = budget_.threads(parameters, std::clamp(threads, 1, 64));
  codec_->thread_type = FF_THREAD_FRAME | FF_THREAD_SLICE;
  codec_->max_pixels = limits_.frame_pixels;
  budget_.attach(*codec_);
  const int opened = avcodec_open2(codec_.get(), codec, nullptr);
  check_memory(opened);
  if (opened < 0) {
    throw_error(ErrorCode::kUnsupported, "{}: stream {}: the '{}' decoder refuses it: {}",
                media_.source.name(), media_.demuxer->video_stream(), codec->name,
                ffmpeg_error(opened));
  }
  may_skip_ = drops_unreferenced(parameters.codec_id) && !media_.table.counted;
}

void VideoDecoder::begin(const FrameRun& run) {
  if (next_position_ >= 0 || draining_) avcodec_flush_buffers(codec_.get());
  draining_ = false;
  counted_ = 0;
  run_ = run;
  const bool seekable = media_.table.seekable;
  const bool ahead = next_position_ >= 0 && next_position_ <= run.start &&
                     (run.start - next_position_ <= kReadOn || !seekable);
  if (ahead || (run.start > 0 && seekable && position_at(run.start))) return;
  packet_waits_ = false;
  if (!media_.at_start && !(seekable && position_at(0))) {
    media_.demuxer->reopen();
    packet_waits_ = false;
    next_position_ = 0;
  }
  if (media_.at_start) next_position_ = 0;
}

/// Seeks to packet `start` or a little before it; false when the landing place is unknown or behind
/// it.
bool VideoDecoder::position_at(std::int64_t start) {
  const PacketEntry& entry = media_.table.packets[static_cast<std::size_t>(start)];
  const std::int64_t at = entry.dts != AV_NOPTS_VALUE ? entry.dts : entry.pts;
  packet_waits_ = false;
  next_position_ = -1;
  media_.at_start = false;
  ++seeks_;
  if (!media_.demuxer->seek(at)) return false;
  if (media_.demuxer->read(packet_.get()) != Demuxer::Read::kPacket) return false;
  const std::int64_t position = identify(*packet_);
  if (position < 0 || position > start) return false;
  packet_waits_ = true;
  next_position_ = position;
  return true;
}

/// Number of a packet in decoding order; -1: no packet of the scan.
std::int64_t VideoDecoder::identify(const AVPacket& packet) const {
  const std::vector<std::int64_t>& ticks = media_.index.ticks;
  const auto it = std::lower_bound(ticks.begin(), ticks.end(), packet.pts);
  if (it != ticks.end() && *it == packet.pts) {
    return media_.table.position[static_cast<std::size_t>(it - ticks.begin())];
  }
  const auto& packets = media_.table.packets;  // one that is not shown
  for (std::size_t i = 0; i < packets.size(); ++i) {
    if (packets[i].rank < 0 && packets[i].pts == packet.pts) return static_cast<std::int64_t>(i);
  }
  return -1;
}

/// The next packet of the run that is to be decoded into packet_; false at the end of the run.
bool VideoDecoder::read_packet() {
  for (int damage = 0; damage < kMaxDamage;) {
    if (next_position_ > run_.stop) return false;
    if (!packet_waits_) {
      media_.at_start = false;
      const Demuxer::Read result = media_.demuxer->read(packet_.get());
      if (result == Demuxer::Read::kEnd) return false;
      if (result == Demuxer::Read::kDamaged) ++damage;
      if (result == Demuxer::Read::kDamaged || packet_->size == 0) continue;
    }
    packet_waits_ = false;
    if (next_position_++ >= run_.start) return true;
  }
  return false;
}

void VideoDecoder::send(std::span<const std::int64_t> wanted) {
  const std::int64_t position = next_position_ - 1;
  const auto& packets = media_.table.packets;
  const std::int64_t rank = position < static_cast<std::int64_t>(packets.size())
                                ? packets[static_cast<std::size_t>(position)].rank
                                : -1;
  // Decoders carry a packet's pts to its frame and make nothing of its value: the frame's number
  // travels there, safe from missing, repeated and wrong times.
  packet_->pts = rank >= 0 ? rank : AV_NOPTS_VALUE;
  packet_->dts = AV_NOPTS_VALUE;
  if (may_skip_) {
    const bool needed = std::binary_search(wanted.begin(), wanted.end(), rank);
    codec_->skip_frame = needed ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
  }
  const int sent = avcodec_send_packet(codec_.get(), packet_.get());
  check_memory(sent);
  // Everything else is a damaged packet: its frame will be missing, and is reported then.
}

/// What FFmpeg returns when it got no memory, from the system or from budget_.
void VideoDecoder::check_memory(int result) const {
  if (result >= 0) return;
  budget_.check();  // whatever a decoder made of the refusal
  if (result == AVERROR(ENOMEM)) {
    throw_error(ErrorCode::kOutOfMemory, "{}: decoding: allocation refused", media_.source.name());
  }
}

void VideoDecoder::check_progress() {
  if (cancel_ != nullptr) cancel_->check();
  const auto now = std::chrono::steady_clock::now();
  if (std::chrono::duration<double>(now - last_progress_).count() > limits_.stall_seconds) {
    throw_error(ErrorCode::kLimit, "{}: no frame decoded for {} seconds, the limit stall-seconds",
                media_.source.name(), limits_.stall_seconds);
  }
}

bool VideoDecoder::receive(AVFrame& frame, std::span<const std::int64_t> wanted) {
  last_progress_ = std::chrono::steady_clock::now();
  for (;;) {
    check_progress();
    const int got = avcodec_receive_frame(codec_.get(), &frame);
    if (got >= 0) {
      ++frames_decoded_;
      if (progress_ != nullptr) ++*progress_;
      if (media_.table.counted) frame.pts = counted_++;
      if (frame.pts == AV_NOPTS_VALUE || frame.pts < 0) continue;  // not shown
      return true;
    }
    check_memory(got);
    if (got == AVERROR_EOF) return false;
    if (got != AVERROR(EAGAIN)) continue;  // a damaged frame
    if (draining_) return false;
    if (read_packet()) {
      send(wanted);
    } else {
      draining_ = true;
      avcodec_send_packet(codec_.get(), nullptr);
    }
  }
}

}  // namespace reelm::preprocess
