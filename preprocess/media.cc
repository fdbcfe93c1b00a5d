#include "preprocess/media.h"

#include <unistd.h>

#include <chrono>
#include <utility>

#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/animation.h"
#include "preprocess/image.h"
#include "preprocess/media_impl.h"
#include "preprocess/sandbox/remote_decoder.h"

namespace reelm::preprocess {
namespace {

double milliseconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

std::string text(const char* name) { return name != nullptr ? name : ""; }

std::string type_name(AVMediaType type) {
  const char* name = av_get_media_type_string(type);
  return name != nullptr ? name : "unknown";
}

std::optional<double> seconds(std::int64_t ticks, AVRational base) {
  if (ticks == AV_NOPTS_VALUE) return std::nullopt;
  return static_cast<double>(ticks) * base.num / base.den;
}

std::string field_order(AVFieldOrder order) {
  switch (order) {
    case AV_FIELD_PROGRESSIVE:
      return "progressive";
    case AV_FIELD_TT:
      return "tt";
    case AV_FIELD_BB:
      return "bb";
    case AV_FIELD_TB:
      return "tb";
    case AV_FIELD_BT:
      return "bt";
    default:
      return "";
  }
}

/// "frame%03d.png", "*.jpg": how other programs are told of image sequences.
bool is_pattern(const std::string& name) {
  if (name.find_first_of("*?") != std::string::npos) return true;
  const std::size_t percent = name.find('%');
  if (percent == std::string::npos) return false;
  const std::size_t letter = name.find_first_not_of("0123456789", percent + 1);
  return letter != std::string::npos && name[letter] == 'd';
}

void describe_video(AVFormatContext* context, AVStream& stream, const Orientation& orientation,
                    StreamInfo& info) {
  const AVCodecParameters& p = *stream.codecpar;
  const auto format = static_cast<AVPixelFormat>(p.format);
  info.pixel_format = text(av_get_pix_fmt_name(format));
  info.width = p.width;
  info.height = p.height;
  info.rotation = orientation.rotation();
  info.flipped = orientation.flipped();
  const AVRational rate =
      stream.avg_frame_rate.num > 0 ? stream.avg_frame_rate : stream.r_frame_rate;
  if (rate.num > 0 && rate.den > 0) info.fps = av_q2d(rate);
  if (stream.nb_frames > 0) info.frame_count = stream.nb_frames;
  if (p.color_range != AVCOL_RANGE_UNSPECIFIED) {
    info.color_range = text(av_color_range_name(p.color_range));
  }
  if (p.color_space != AVCOL_SPC_UNSPECIFIED) {
    info.color_matrix = text(av_color_space_name(p.color_space));
  }
  if (p.color_primaries != AVCOL_PRI_UNSPECIFIED) {
    info.color_primaries = text(av_color_primaries_name(p.color_primaries));
  }
  if (p.color_trc != AVCOL_TRC_UNSPECIFIED) {
    info.color_transfer = text(av_color_transfer_name(p.color_trc));
  }
  if (const AVPixFmtDescriptor* d = av_pix_fmt_desc_get(format)) info.bit_depth = d->comp[0].depth;
  // The container's word before the codec's.
  const AVRational aspect = av_guess_sample_aspect_ratio(context, &stream, nullptr);
  if (aspect.num > 0 && aspect.den > 0) info.sample_aspect_ratio = av_q2d(aspect);
  info.field_order = field_order(p.field_order);
  info.cover = (stream.disposition & AV_DISPOSITION_ATTACHED_PIC) != 0;
}

void describe_container(const Demuxer& demuxer, MediaInfo& info) {
  AVFormatContext& context = *demuxer.context();
  info.kind = MediaInfo::Kind::kVideo;
  info.container = context.iformat->name;
  if (context.start_time != AV_NOPTS_VALUE) {
    info.start_seconds = static_cast<double>(context.start_time) / AV_TIME_BASE;
  }
  if (context.duration != AV_NOPTS_VALUE && context.duration > 0) {
    info.duration_seconds = static_cast<double>(context.duration) / AV_TIME_BASE;
  }
  for (unsigned i = 0; i < context.nb_streams; ++i) {
    AVStream& stream = *context.streams[i];
    StreamInfo& s = info.streams.emplace_back();
    s.index = static_cast<int>(i);
    s.type = type_name(stream.codecpar->codec_type);
    s.codec = avcodec_get_name(stream.codecpar->codec_id);
    s.time_base_num = stream.time_base.num;
    s.time_base_den = stream.time_base.den;
    s.start_seconds = seconds(stream.start_time, stream.time_base);
    s.duration_seconds = seconds(stream.duration, stream.time_base);
    if (stream.codecpar->codec_type == AVMEDIA_TYPE_VIDEO) {
      const bool chosen = s.index == demuxer.video_stream();
      describe_video(&context, stream, chosen ? demuxer.orientation() : Orientation{}, s);
    }
  }
  info.video_stream = demuxer.video_stream();
}

/// An animated WebP of two frames or more is a video, and one that had as many before it was
/// damaged.
void open_animation(Media::Impl& m) {
  WebpTimes times = read_webp_times(m.image, m.source.name());
  const std::size_t n = times.begin.size();
  if (n < 2 && times.loss.empty()) return;
  m.info.kind = MediaInfo::Kind::kVideo;
  m.info.duration_seconds = static_cast<double>(times.end) / kWebpTicks;
  StreamInfo& s = m.info.streams.front();
  s.frame_count = static_cast<std::int64_t>(n);
  s.time_base_num = 1;
  s.time_base_den = kWebpTicks;
  s.start_seconds = 0;
  s.duration_seconds = m.info.duration_seconds;
  if (times.end > 0) s.fps = static_cast<double>(n) / m.info.duration_seconds;
  m.animation = std::move(times);
}

void open_image(Media::Impl& m) {
  const std::int64_t size = m.bytes->size();
  if (size > m.limits.image_bytes) {
    throw_error(ErrorCode::kLimit, "{}: an image of {} bytes, over the limit image-bytes ({})",
                m.source.name(), size, m.limits.image_bytes);
  }
  m.image.resize(static_cast<std::size_t>(size));
  m.image.resize(m.bytes->read(0, m.image.data(), m.image.size()));
  const ImageHeader header = read_image_header(m.image, m.source.name(), m.limits);
  m.info.kind = MediaInfo::Kind::kImage;
  m.info.container = image_format_name(header.format);
  StreamInfo& s = m.info.streams.emplace_back();
  s.type = "video";
  s.codec = m.info.container;
  s.pixel_format = header.mode;
  s.width = header.size.width;
  s.height = header.size.height;
  s.frame_count = 1;
  s.bit_depth = header.bit_depth;
  m.info.video_stream = 0;
  for (const Reference reference : {Reference::kQwenVlUtils, Reference::kHf}) {
    m.image_sizes[static_cast<std::size_t>(reference)] =
        decoded_size(m.image, header.size, reference);
  }
  if (header.animated) open_animation(m);
}

/// Recognises and describes the source in this process.
void open_here(Media::Impl& m, const CancelToken* cancel) {
  std::byte head[16];
  const std::size_t n = m.bytes->read(0, head, sizeof head);
  const std::optional<ImageFormat> image = detect_image(std::span(head, n));
  if (image && !(*image == ImageFormat::kPng && is_animated_png(*m.bytes))) {
    open_image(m);
    return;
  }
  m.demuxer = std::make_unique<Demuxer>(*m.bytes, m.source.name(), m.limits, cancel);
  describe_container(*m.demuxer, m.info);
  m.demuxer->set_cancel(nullptr);  // `cancel` need not outlive this call
}

/// The same in a process of its own.
void open_confined(Media::Impl& m, const Sandbox& sandbox, const CancelToken* cancel) {
  m.remote = start_decoder(sandbox, *m.bytes, m.source.name(), m.limits);
  RemoteInfo remote = m.remote->open(sandbox.options().memory_bytes, cancel);
  m.info = std::move(remote.info);
  m.image_sizes = remote.image_sizes;
}

}  // namespace

MediaSource MediaSource::from_path(std::filesystem::path path) {
  MediaSource source;
  source.kind_ = Kind::kPath;
  source.name_ = path.string();
  source.path_ = std::move(path);
  return source;
}

MediaSource MediaSource::from_descriptor(int fd, std::string name) {
  MediaSource source;
  source.kind_ = Kind::kDescriptor;
  source.name_ = std::move(name);
  source.descriptor_ = fd;
  return source;
}

MediaSource MediaSource::from_memory(std::shared_ptr<const std::vector<std::byte>> bytes,
                                     std::string name) {
  MediaSource source = from_memory(std::span<const std::byte>(*bytes), std::move(name));
  source.owner_ = std::move(bytes);
  return source;
}

MediaSource MediaSource::from_memory(std::span<const std::byte> bytes, std::string name) {
  MediaSource source;
  source.kind_ = Kind::kMemory;
  source.name_ = std::move(name);
  source.bytes_ = bytes;
  return source;
}

void MediaSource::check_exists() const {
  std::error_code failed;
  if (kind_ != Kind::kPath || std::filesystem::exists(path_, failed)) return;
  if (failed) throw_error(ErrorCode::kIo, "{}: {}", name_, failed.message());
  throw_error(ErrorCode::kNotFound, "{}: no such file{}", name_,
              is_pattern(path_.filename().string()) ? kSequenceHint : "");
}

MediaSource MediaSource::from_argument(const std::string& argument) {
  if (argument == "-") return from_descriptor(STDIN_FILENO, "standard input");
  return from_path(argument);
}

Media::Impl::Impl(MediaSource from) : source(std::move(from)) {}
Media::Impl::~Impl() = default;

Media::Media(const MediaSource& source, const Limits& limits, const CancelToken* cancel,
             const Sandbox* sandbox)
    : impl_(std::make_unique<Impl>(source)) {
  const TimelineSpan span("open", SpanKind::kStage);
  const auto start = std::chrono::steady_clock::now();
  Impl& m = *impl_;
  m.limits = limits;
  m.bytes = open_byte_source(source, limits, cancel);
  sandbox != nullptr ? open_confined(m, *sandbox, cancel) : open_here(m, cancel);
  m.info.name = source.name();
  m.info.size_bytes = m.bytes->size();
  m.open_ms = milliseconds_since(start);
}

Media::Media(Media&&) noexcept = default;
Media& Media::operator=(Media&&) noexcept = default;
Media::~Media() = default;

const MediaInfo& Media::info() const noexcept { return impl_->info; }
double Media::open_ms() const noexcept { return impl_->open_ms; }
double Media::scan_ms() const noexcept { return impl_->scan_ms; }

const FrameIndex& Media::frame_index(const CancelToken* cancel) {
  Impl& m = *impl_;
  if (is_image()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: an image has no frame index", m.source.name());
  }
  if (!m.scanned) {
    const TimelineSpan span("scan", SpanKind::kStage);
    const auto start = std::chrono::steady_clock::now();
    if (m.remote) {
      m.index = m.remote->frame_index(cancel);
    } else {
      scan_frames(m, cancel);
    }
    m.scanned = true;
    m.scan_ms = milliseconds_since(start);
  }
  return m.index;
}

}  // namespace reelm::preprocess
