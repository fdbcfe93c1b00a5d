#include "preprocess/sandbox/remote_decoder.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <cstring>
#include <utility>

#include "core/checked.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/descriptor.h"
#include "preprocess/sandbox/watch.h"

namespace reelm::preprocess {
namespace {

constexpr std::size_t kMostSmallBytes = std::size_t{4} << 20;  // infos, warnings, errors

/// A source without a descriptor, copied into one.
Descriptor copy_to_memory_file(ByteSource& bytes, const std::string& name) {
  Descriptor file = make_memory_file(bytes.size(), name);
  std::vector<std::byte> piece(std::size_t{1} << 20);
  for (std::int64_t at = 0; at < bytes.size();) {
    const std::size_t n = bytes.read(at, piece.data(), piece.size());
    const ssize_t put = n == 0 ? 0 : ::pwrite(file.get(), piece.data(), n, at);
    if (put <= 0) {
      throw_error(ErrorCode::kIo, "{}: copying for the decoder: {}", name, std::strerror(errno));
    }
    at += put;
  }
  return file;
}

bool in(std::int64_t value, std::int64_t least, std::int64_t most) {
  return value >= least && value <= most;
}

/// A text for terminals.
std::string get_word(WireReader& in) { return one_line(in.get_text()); }

std::vector<std::string> get_warnings(WireReader& in) {
  std::vector<std::string> warnings = in.get_lines();
  for (std::string& warning : warnings) warning = one_line(std::move(warning));
  return warnings;
}

bool is_finite(const std::optional<double>& value) { return !value || std::isfinite(*value); }

StreamInfo get_stream(WireReader& in) {
  StreamInfo s;
  s.index = in.get<int>();
  for (std::string* text : {&s.type, &s.codec, &s.pixel_format, &s.color_range, &s.color_matrix,
                            &s.color_primaries, &s.color_transfer, &s.field_order}) {
    *text = get_word(in);
  }
  s.width = in.get<std::int64_t>();
  s.height = in.get<std::int64_t>();
  s.rotation = in.get<int>();
  s.flipped = in.get<std::uint8_t>() != 0;
  s.fps = in.get<double>();
  s.frame_count = in.get_optional<std::int64_t>();
  s.time_base_num = in.get<std::int64_t>();
  s.time_base_den = in.get<std::int64_t>();
  s.start_seconds = in.get_optional<double>();
  s.duration_seconds = in.get_optional<double>();
  s.bit_depth = in.get<int>();
  s.sample_aspect_ratio = in.get<double>();
  s.cover = in.get<std::uint8_t>() != 0;
  return s;
}

bool plausible(const StreamInfo& s, const Limits& limits) {
  return in(s.width, 0, limits.frame_pixels) && in(s.height, 0, limits.frame_pixels) &&
         (s.width == 0 || s.height <= limits.frame_pixels / s.width) &&
         (s.rotation == 0 || s.rotation == 90 || s.rotation == 180 || s.rotation == 270) &&
         std::isfinite(s.fps) && s.sample_aspect_ratio >= 1.0 / INT32_MAX &&
         s.sample_aspect_ratio <= INT32_MAX && s.time_base_den > 0 && is_finite(s.start_seconds) &&
         is_finite(s.duration_seconds);
}

bool plausible(const FrameIndex& index, const Limits& limits) {
  const std::int64_t n = index.size();
  return in(n, 1, limits.frames_considered) && index.ticks.size() == index.pts.size() &&
         index.keyframe.size() == index.pts.size() && std::isfinite(index.end_seconds) &&
         std::isfinite(index.fps) &&
         std::all_of(index.pts.begin(), index.pts.end(),
                     [](double t) { return std::isfinite(t); }) &&
         std::is_sorted(index.pts.begin(), index.pts.end());
}

}  // namespace

Descriptor make_memory_file(std::int64_t bytes, const std::string& name) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_FSIZE, &limit) == 0 && static_cast<rlim_t>(bytes) > limit.rlim_cur) {
    throw_error(ErrorCode::kLimit,
                "{}: {} bytes of shared memory, over the file-size limit of this process ({}; "
                "ulimit -f, RLIMIT_FSIZE)",
                name, bytes, limit.rlim_cur);
  }
  Descriptor file(::memfd_create("reelm-frames", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  const int fd = file.get();
  if (fd < 0 || ::ftruncate(fd, bytes) != 0 ||
      ::fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) {
    throw_error(ErrorCode::kOutOfMemory, "{}: {} bytes of shared memory: {}", name, bytes,
                std::strerror(errno));
  }
  return file;
}

std::unique_ptr<RemoteDecoder> start_decoder(const Sandbox& sandbox, ByteSource& bytes,
                                             std::string name, const Limits& limits) {
  const std::optional<DescriptorRange> range = bytes.descriptor();
  const Descriptor copy = range ? Descriptor() : copy_to_memory_file(bytes, name);
  // Where the source begins; the decoder sees the same file position.
  if (range && ::lseek(range->fd, range->begin, SEEK_SET) < 0) {
    throw_error(ErrorCode::kIo, "{}: seeking: {}", name, std::strerror(errno));
  }
  const std::int64_t slot_bytes = frame_slot_bytes(limits);
  if (slot_bytes == 0) check_slot(name, 1, 1, slot_bytes, limits);
  const Descriptor frames = make_memory_file(checked_mul(slot_bytes, kFrameSlots, "frames"), name);
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw_error(ErrorCode::kIo, "{}: a socket for the decoder: {}", name, std::strerror(errno));
  }
  Descriptor ours(ends[0]);
  const Descriptor theirs(ends[1]);
  sandbox.fork_decoder(theirs.get(), range ? range->fd : copy.get(), frames.get());
  return std::make_unique<RemoteDecoder>(std::move(ours), frames, slot_bytes, std::move(name),
                                         limits);
}

RemoteDecoder::RemoteDecoder(Descriptor socket, const Descriptor& frames, std::int64_t slot_bytes,
                             std::string name, const Limits& limits)
    : name_(std::move(name)),
      limits_(limits),
      slot_bytes_(slot_bytes),
      socket_(std::move(socket)),
      inbox_(socket_.get()) {
  const std::int64_t all = checked_mul(slot_bytes_, kFrameSlots, "frames");
  void* slots =
      ::mmap(nullptr, static_cast<std::size_t>(all), PROT_READ, MAP_SHARED, frames.get(), 0);
  if (slots == MAP_FAILED) {
    throw_error(ErrorCode::kOutOfMemory, "{}: mapping {} bytes: {}", name_, all,
                std::strerror(errno));
  }
  slots_ = static_cast<std::uint8_t*>(slots);
}

RemoteDecoder::~RemoteDecoder() {
  ::munmap(slots_, static_cast<std::size_t>(slot_bytes_) * kFrameSlots);
}

void RemoteDecoder::refuse(std::string_view what) const {
  throw_error(ErrorCode::kFormat, "{}: the decoder process sent {}: it was taken over or is broken",
              name_, what);
}

void RemoteDecoder::fail(const Message& message) const {
  WireReader in(message);
  const auto code = in.get<int>();
  const std::string text = in.get_text();
  if (code < 0 || code > static_cast<int>(ErrorCode::kCancelled)) refuse("an unknown error");
  if (text.empty()) refuse("an error without a word");
  throw Error(static_cast<ErrorCode>(code), text);
}

void RemoteDecoder::died(const Message& message) const {
  const int status = WireReader(message).get<int>();
  if (WIFSIGNALED(status)) {
    throw_error(ErrorCode::kFormat, "{}: the decoder process crashed on it (signal {}, {})", name_,
                WTERMSIG(status), strsignal(WTERMSIG(status)));
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == kStalledExit) {
    throw_error(ErrorCode::kLimit,
                "{}: the decoder process made no progress for {} seconds (the limits probe-seconds "
                "and stall-seconds)",
                name_,
                kStallGraceSeconds + (opened_ ? limits_.stall_seconds : limits_.probe_seconds));
  }
  throw_error(ErrorCode::kIo, "{}: the decoder process could not go on", name_);
}

void RemoteDecoder::request(Message message) {
  message.request = ++request_;
  // A decoder that is gone says why, or that it is gone, when its answer is awaited.
  (void)send_message(socket_.get(), message);
}

Message RemoteDecoder::answer(MessageKind kind, std::size_t most_bytes, const CancelToken* cancel) {
  for (;;) {
    Message message;
    if (!inbox_.receive(most_bytes, cancel, message)) {
      throw_error(ErrorCode::kIo, "{}: the decoder process is gone", name_);
    }
    if (message.kind == MessageKind::kDied) died(message);
    if (message.request != request_) continue;  // of a call that was given up
    if (message.kind == MessageKind::kFailed) fail(message);
    if (message.kind != kind) refuse("an answer to another question");
    return message;
  }
}

RemoteInfo RemoteDecoder::open(std::int64_t memory_bytes, const CancelToken* cancel) {
  Message ask{.kind = MessageKind::kOpen};
  WireWriter out(ask);
  out.put(OpenRequest{limits_, memory_bytes, slot_bytes_});
  out.put(std::string_view(name_));
  request(std::move(ask));
  const Message message = answer(MessageKind::kInfo, kMostSmallBytes, cancel);
  WireReader in(message);
  RemoteInfo remote;
  const int kind = in.get<int>();
  if (kind != static_cast<int>(MediaInfo::Kind::kImage) &&
      kind != static_cast<int>(MediaInfo::Kind::kVideo)) {
    refuse("an unknown kind of media");
  }
  MediaInfo& info = remote.info;
  info.kind = static_cast<MediaInfo::Kind>(kind);
  info.container = get_word(in);
  info.start_seconds = in.get<double>();
  info.duration_seconds = in.get<double>();
  info.video_stream = in.get<int>();
  remote.image_sizes = in.get<ImageSizes>();
  if (!std::isfinite(info.start_seconds) || !std::isfinite(info.duration_seconds)) {
    refuse("times that cannot be");
  }
  const auto n = in.get<std::uint64_t>();
  if (n > static_cast<std::uint64_t>(limits_.streams)) refuse("too many streams");
  for (std::uint64_t i = 0; i < n; ++i) {
    info.streams.push_back(get_stream(in));
    if (!plausible(info.streams.back(), limits_)) refuse("a stream that cannot be");
  }
  if (info.video_stream < 0 || static_cast<std::uint64_t>(info.video_stream) >= n ||
      info.video().width < 1 || info.video().height < 1) {
    refuse("a video stream that cannot be");
  }
  opened_ = true;
  check_slot(name_, info.video().height, info.video().width, slot_bytes_, limits_);
  for (const Size& size : remote.image_sizes) {
    if (size.width < 0 || size.height < 0 ||
        (size.width > 0 && size.height > limits_.frame_pixels / size.width)) {
      refuse("an image size that cannot be");
    }
  }
  return remote;
}

FrameIndex RemoteDecoder::frame_index(const CancelToken* cancel) {
  request({.kind = MessageKind::kIndex});
  const std::size_t most = kMostSmallBytes + static_cast<std::size_t>(std::min<std::int64_t>(
                                                 limits_.frames_considered, INT32_MAX)) *
                                                 (sizeof(double) + sizeof(std::int64_t) + 1);
  const Message message = answer(MessageKind::kTable, most, cancel);
  WireReader in(message);
  FrameIndex index;
  index.pts = in.get_values<double>();
  index.ticks = in.get_values<std::int64_t>();
  index.keyframe = in.get_values<std::uint8_t>();
  index.end_seconds = in.get<double>();
  index.fps = in.get<double>();
  index.truncated = in.get<std::uint8_t>() != 0;
  index.warnings = get_warnings(in);
  if (!plausible(index, limits_)) refuse("a frame index that cannot be");
  return index;
}

void RemoteDecoder::begin_frames(const std::vector<std::int64_t>& indices,
                                 const FrameRequest& how) {
  Message ask{.kind = MessageKind::kFrames};
  WireWriter out(ask);
  out.put(how);
  out.put(indices);
  request(std::move(ask));
}

FrameHeader RemoteDecoder::next_frame(std::int64_t expected, const CancelToken* cancel) {
  const Message message = answer(MessageKind::kFrame, kMostSmallBytes, cancel);
  WireReader in_message(message);
  const auto header = in_message.get<FrameHeader>();
  if (header.slot >= kFrameSlots || header.index != expected || header.width < 1 ||
      header.height < 1 || header.height > limits_.frame_pixels / header.width ||
      header.height > slot_bytes_ / 3 / header.width) {
    refuse("a frame that cannot be");
  }
  if (Timeline::on()) {
    const auto clock = in_message.get<FrameClock>();
    Timeline::add(lanes::kDecoderProcess, "decode_frame", {"frame", header.index}, clock.begin_ns,
                  clock.end_ns);
  }
  return header;
}

TensorView<const std::uint8_t> RemoteDecoder::pixels(const FrameHeader& header) const {
  return {slots_ + header.slot * slot_bytes_, {header.height, header.width, 3}};
}

void RemoteDecoder::free_slot() {
  (void)send_message(socket_.get(), {.kind = MessageKind::kFree, .request = request_});
}

FrameTotals RemoteDecoder::end_frames(const CancelToken* cancel,
                                      std::vector<std::string>& warnings) {
  const Message message = answer(MessageKind::kEnd, kMostSmallBytes, cancel);
  WireReader in(message);
  const auto totals = in.get<FrameTotals>();
  warnings = get_warnings(in);
  return totals;
}

}  // namespace reelm::preprocess
