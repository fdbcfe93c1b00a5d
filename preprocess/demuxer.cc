#include "preprocess/demuxer.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstring>
#include <numbers>
#include <string_view>
#include <utility>
#include <vector>

#include "core/throw.h"

namespace reelm::preprocess {
namespace {

// Containers that may be opened, by the names FFmpeg gives its demuxers. Nothing that names other
// files (hls, dash, concat, image2, ...), nothing that runs code (scripts), nothing without
// pictures.
constexpr std::string_view kFormats[] = {"mov,mp4,m4a,3gp,3g2,mj2",
                                         "matroska,webm",
                                         "avi",
                                         "flv",
                                         "live_flv",
                                         "mpegts",
                                         "mpeg",
                                         "mpegvideo",
                                         "m4v",
                                         "h264",
                                         "hevc",
                                         "av1",
                                         "obu",
                                         "ivf",
                                         "gif",
                                         "apng",
                                         "ogg",
                                         "asf",
                                         "nut",
                                         "mxf",
                                         "dv",
                                         "yuv4mpegpipe",
                                         "mjpeg",
                                         "rm"};

// The most bytes FFmpeg is asked to read to tell the format apart; its own PROBE_BUF_MAX.
constexpr std::int64_t kFormatProbeBytes = 1 << 20;

int refuse_open(AVFormatContext*, AVIOContext**, const char*, int, AVDictionary**) {
  return AVERROR(EACCES);  // a container may not make us open anything else
}

Orientation orientation_from(const std::int32_t* matrix) {
  const double a = matrix[0], b = matrix[1], c = matrix[3], d = matrix[4];
  if (a == 0 && b == 0) return {};
  const auto quarter = std::lround(std::atan2(b, a) / (std::numbers::pi / 2));
  constexpr int kCos[] = {1, 0, -1, 0};
  constexpr int kSin[] = {0, 1, 0, -1};
  const auto i = static_cast<std::size_t>((quarter % 4 + 4) % 4);
  Orientation out{kCos[i], kSin[i], -kSin[i], kCos[i]};
  if (a * d - b * c < 0) {
    out.c = -out.c;
    out.d = -out.d;
  }
  return out;
}

Orientation orientation_of(const AVStream* stream) {
  const std::uint8_t* data = nullptr;
  std::size_t size = 0;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 31, 100)  // FFmpeg 6.1
  const AVPacketSideData* side =
      av_packet_side_data_get(stream->codecpar->coded_side_data,
                              stream->codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  if (side != nullptr) {
    data = side->data;
    size = side->size;
  }
#else
  data = av_stream_get_side_data(stream, AV_PKT_DATA_DISPLAYMATRIX, &size);
#endif
  if (data == nullptr || size < 9 * sizeof(std::int32_t)) return {};
  std::int32_t matrix[9];
  std::memcpy(matrix, data, sizeof matrix);
  return orientation_from(matrix);
}

}  // namespace

int Orientation::rotation() const noexcept {
  // The first column is where the x axis goes; mirroring first turns it round.
  const int x = flipped() ? -a : a, y = flipped() ? -b : b;
  if (x != 0) return x > 0 ? 0 : 180;
  return y > 0 ? 90 : 270;
}

Demuxer::Demuxer(ByteSource& bytes, std::string name, const Limits& limits,
                 const CancelToken* cancel)
    : name_(std::move(name)), limits_(limits) {
  io_.bytes = &bytes;
  io_.cancel = cancel;
  try {
    open();
  } catch (...) {
    close();
    throw;
  }
}

Demuxer::~Demuxer() { close(); }

void Demuxer::close() noexcept {
  avformat_close_input(&context_);
  if (avio_ != nullptr) av_freep(&avio_->buffer);
  avio_context_free(&avio_);
}

void Demuxer::reopen() {
  close();
  open();
}

/// FFmpeg asks between the packets that it reads or decodes by itself.
int Demuxer::interrupted(void* opaque) {
  Io& io = *static_cast<Io*>(opaque);
  if (io.deadline && std::chrono::steady_clock::now() > *io.deadline) io.late = true;
  return io.late || (io.cancel != nullptr && io.cancel->stopped()) ? 1 : 0;
}

int Demuxer::read_bytes(void* opaque, std::uint8_t* to, int n) {
  Io& io = *static_cast<Io*>(opaque);
  try {
    if (io.cancel != nullptr) io.cancel->check();
    if (interrupted(opaque) != 0) return AVERROR_EXIT;
    const std::size_t got = io.bytes->read(io.position, to, static_cast<std::size_t>(n));
    io.position += static_cast<std::int64_t>(got);
    if (io.deadline && (io.most -= static_cast<std::int64_t>(got)) < 0) {
      io.greedy = true;
      return AVERROR_EXIT;
    }
    return got == 0 ? AVERROR_EOF : static_cast<int>(got);
  } catch (...) {
    io.failure = std::current_exception();
    return AVERROR_EXTERNAL;
  }
}

std::int64_t Demuxer::seek_bytes(void* opaque, std::int64_t offset, int whence) {
  Io& io = *static_cast<Io*>(opaque);
  const std::int64_t size = io.bytes->size();
  std::int64_t base = 0;
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return size;
    case SEEK_SET:
      break;
    case SEEK_CUR:
      base = io.position;
      break;
    case SEEK_END:
      base = size;
      break;
    default:
      return AVERROR(EINVAL);
  }
  std::int64_t to = 0;
  if (__builtin_add_overflow(base, offset, &to) || to < 0) return AVERROR(EINVAL);
  io.position = to;  // past the end is allowed, as for files: reading there gives the end
  return to;
}

void Demuxer::rethrow_failure(int result) {
  if (io_.failure) std::rethrow_exception(std::exchange(io_.failure, nullptr));
  if (std::exchange(io_.late, false)) {
    throw_error(ErrorCode::kLimit, "{}: not recognised within {} seconds, the limit probe-seconds",
                name_, limits_.probe_seconds);
  }
  if (std::exchange(io_.greedy, false)) {
    throw_error(ErrorCode::kLimit,
                "{}: more than {} bytes to read before the first frame, the limit "
                "probe-bytes",
                name_, limits_.probe_bytes);
  }
  if (io_.cancel != nullptr) io_.cancel->check();
  if (result == AVERROR(ENOMEM)) {
    throw_error(ErrorCode::kOutOfMemory, "{}: reading the container: allocation refused", name_);
  }
}

const AVInputFormat* Demuxer::probe_format() {
  // No name is passed on: extensions must not decide, or a pipe would be read differently.
  const AVInputFormat* format = nullptr;
  const auto most = static_cast<unsigned>(std::min(limits_.probe_bytes, kFormatProbeBytes));
  const int score = av_probe_input_buffer2(avio_, &format, "", nullptr, 0, most);
  rethrow_failure(score);
  // Scores of a quarter and less are guesses that FFmpeg itself warns about.
  if (score < 0 || format == nullptr || score <= AVPROBE_SCORE_RETRY) {
    if (limits_.probe_bytes < std::min(kFormatProbeBytes, io_.bytes->size())) {
      throw_error(ErrorCode::kLimit,
                  "{}: not recognised by its first {} bytes, the limit probe-bytes", name_,
                  limits_.probe_bytes);
    }
    throw_error(ErrorCode::kFormat, "{}: neither a video nor a PNG, JPEG or WebP image", name_);
  }
  if (std::find(std::begin(kFormats), std::end(kFormats), format->name) == std::end(kFormats)) {
    throw_error(ErrorCode::kUnsupported, "{}: '{}' is not a video container that is accepted",
                name_, format->name);
  }
  return format;
}

void Demuxer::open() {
  silence_ffmpeg();
  io_.position = 0;
  io_.most = limits_.probe_bytes;
  io_.deadline = std::chrono::steady_clock::now() +
                 std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                     std::chrono::duration<double>(limits_.probe_seconds));
  constexpr int kBuffer = 64 << 10;
  auto* buffer = static_cast<unsigned char*>(av_malloc(kBuffer));
  if (buffer != nullptr) {
    avio_ = avio_alloc_context(buffer, kBuffer, 0, &io_, &read_bytes, nullptr, &seek_bytes);
  }
  if (avio_ == nullptr) {
    av_free(buffer);
    throw_error(ErrorCode::kOutOfMemory, "{}: allocation refused", name_);
  }
  const AVInputFormat* format = probe_format();
  context_ = avformat_alloc_context();
  if (context_ == nullptr) throw_error(ErrorCode::kOutOfMemory, "{}: allocation refused", name_);
  context_->pb = avio_;
  context_->io_open = &refuse_open;
  context_->interrupt_callback = {&interrupted, &io_};
  // The other half is for headers and indices.
  context_->probesize = std::max<std::int64_t>(limits_.probe_bytes / 2, 32);
  context_->max_streams = static_cast<int>(std::clamp<std::int64_t>(limits_.streams, 1, 1000)) + 1;
  // Frees context_ and sets it to nullptr when it fails.
  const int opened = avformat_open_input(&context_, "", format, nullptr);
  rethrow_failure(opened);
  if (opened < 0) {
    throw_error(ErrorCode::kFormat, "{}: a broken or truncated '{}' file: {}", name_, format->name,
                ffmpeg_error(opened));
  }
  find_streams();
  io_.deadline.reset();
}

void Demuxer::find_streams() {
  const auto check_streams = [this] {
    if (static_cast<std::int64_t>(context_->nb_streams) > limits_.streams) {
      throw_error(ErrorCode::kLimit, "{}: {} streams, over the limit streams ({})", name_,
                  context_->nb_streams, limits_.streams);
    }
  };
  check_streams();
  check_video();  // sizes that a header announces, before anything is decoded
  // FFmpeg decodes a few frames to learn what headers do not say. Sizes somewhat over the limit may
  // be found out, so that the error can name them; anything larger is not decoded.
  const std::int64_t most = 4 * std::min<std::int64_t>(limits_.frame_pixels, INT_MAX);
  std::vector<AVDictionary*> options(context_->nb_streams, nullptr);
  for (AVDictionary*& option : options) {
    av_dict_set_int(&option, "max_pixels", std::min<std::int64_t>(most, INT_MAX), 0);
    av_dict_set(&option, "threads", "1", 0);
  }
  const int found = avformat_find_stream_info(context_, options.data());
  for (AVDictionary*& option : options) av_dict_free(&option);
  rethrow_failure(found);
  if (found < 0) {
    throw_error(ErrorCode::kFormat, "{}: a broken or truncated '{}' file: {}", name_,
                context_->iformat->name, ffmpeg_error(found));
  }
  check_streams();
  check_video();
  video_stream_ = choose_video();
  for (unsigned i = 0; i < context_->nb_streams; ++i) {
    if (static_cast<int>(i) != video_stream_) context_->streams[i]->discard = AVDISCARD_ALL;
  }
  orientation_ = orientation_of(video());
}

void Demuxer::check_video() const {
  for (unsigned i = 0; i < context_->nb_streams; ++i) {
    const AVCodecParameters& p = *context_->streams[i]->codecpar;
    if (p.codec_type != AVMEDIA_TYPE_VIDEO) continue;
    const std::int64_t pixels = static_cast<std::int64_t>(p.width) * p.height;
    if (p.width < 0 || p.height < 0 || pixels > limits_.frame_pixels) {
      throw_error(ErrorCode::kLimit,
                  "{}: stream {}: frames of {}x{}, over the limit frame-pixels ({})", name_, i,
                  p.width, p.height, limits_.frame_pixels);
    }
  }
}

int Demuxer::choose_video() const {
  // FFmpeg's choice, as in torchcodec; but never cover art.
  const auto is_cover = [this](int i) {
    return (context_->streams[i]->disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
  };
  int best = av_find_best_stream(context_, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
  for (int i = 0; (best < 0 || is_cover(best)) && i < static_cast<int>(context_->nb_streams); ++i) {
    if (context_->streams[i]->codecpar->codec_type == AVMEDIA_TYPE_VIDEO && !is_cover(i)) best = i;
  }
  if (best < 0 || is_cover(best)) {
    throw_error(ErrorCode::kNotFound, "{}: no video stream among the {} of this '{}' file{}", name_,
                context_->nb_streams, context_->iformat->name,
                best < 0 ? "" : ", only an attached picture");
  }
  const AVCodecParameters& p = *context_->streams[best]->codecpar;
  if (p.width < 1 || p.height < 1) {
    throw_error(ErrorCode::kFormat, "{}: stream {}: no frame size found for the '{}' video", name_,
                best, avcodec_get_name(p.codec_id));
  }
  return best;
}

Demuxer::Read Demuxer::read(AVPacket* packet) {
  for (;;) {
    if (io_.cancel != nullptr) io_.cancel->check();
    av_packet_unref(packet);
    const int got = av_read_frame(context_, packet);
    rethrow_failure(got);
    if (got == AVERROR_EOF) return Read::kEnd;
    if (got == AVERROR(EAGAIN)) continue;
    if (got == AVERROR(ENOMEM)) {
      throw_error(ErrorCode::kOutOfMemory, "{}: demuxing: allocation refused", name_);
    }
    if (got < 0) return avio_feof(avio_) != 0 ? Read::kEnd : Read::kDamaged;
    if (packet->stream_index == video_stream_) return Read::kPacket;
  }
}

bool Demuxer::seek(std::int64_t timestamp) {
  const int result = av_seek_frame(context_, video_stream_, timestamp, AVSEEK_FLAG_BACKWARD);
  rethrow_failure(result);
  return result >= 0;
}

}  // namespace reelm::preprocess
