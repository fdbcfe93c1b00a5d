#include "preprocess/sandbox/decoder_process.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstring>
#include <new>
#include <optional>

#include "core/checked.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "preprocess/image.h"
#include "preprocess/media_impl.h"
#include "preprocess/sandbox/confine.h"
#include "preprocess/sandbox/watch.h"
#include "preprocess/sandbox/wire.h"

namespace reelm::preprocess {
namespace {

/// What a request of the parent may weigh: indices of all frames that limits.frames_kept allows.
constexpr std::size_t kMostRequestBytes = std::size_t{64} << 20;

rlim_t file_size_limit() {
  rlimit limit{};
  return ::getrlimit(RLIMIT_FSIZE, &limit) == 0 ? limit.rlim_cur : RLIM_INFINITY;
}

/// The other end is gone: nothing is left to do.
struct Closed {};

class Decoder {
 public:
  Decoder(int socket, int bytes, int frames, Watch& watch)
      : socket_(socket), bytes_(bytes), frames_(frames), inbox_(socket), watch_(watch) {}

  void run() {
    Message request = wait();
    try {
      open(request);
    } catch (...) {
      fail(request.request);
      return;
    }
    for (std::optional<Message> next;;) {
      request = next ? std::move(*next) : wait();
      next.reset();
      try {
        if (request.kind == MessageKind::kIndex) tell_index(request.request);
        if (request.kind == MessageKind::kFrames) next = send_frames(request);
      } catch (const Closed&) {
        throw;
      } catch (...) {
        fail(request.request);
      }
    }
  }

 private:
  Message wait() {
    watch_.expect(0);
    Message message;
    if (!inbox_.receive(kMostRequestBytes, nullptr, message)) throw Closed();
    return message;
  }

  void send(const Message& message) {
    if (!send_message(socket_, message)) throw Closed();
  }

  /// Tells the exception that is being handled.
  void fail(std::uint32_t request) {
    Message message{.kind = MessageKind::kFailed, .request = request};
    WireWriter out(message);
    try {
      throw;
    } catch (const Error& e) {
      out.put(e.code());
      out.put(std::string_view(e.what()));
    } catch (const std::bad_alloc&) {
      out.put(ErrorCode::kOutOfMemory);
      out.put(name_ + ": decoding: allocation refused");
    } catch (const std::exception& e) {
      out.put(ErrorCode::kFormat);
      out.put(name_ + ": decoding: " + e.what());
    }
    send(message);
  }

  void open(const Message& request) {
    WireReader in(request);
    const auto how = in.get<OpenRequest>();
    name_ = in.get_text();
    limits_ = how.limits;
    slot_bytes_ = how.slot_bytes;
    void* slots = ::mmap(nullptr, static_cast<std::size_t>(slot_bytes_) * kFrameSlots,
                         PROT_READ | PROT_WRITE, MAP_SHARED, frames_, 0);
    if (slots == MAP_FAILED) {
      throw_error(ErrorCode::kOutOfMemory, "{}: memory for frames refused", name_);
    }
    slots_ = static_cast<std::uint8_t*>(slots);
    confine_process(socket_, how.memory_bytes);
    watch_.expect(how.limits.probe_seconds);
    media_.emplace(MediaSource::from_descriptor(bytes_, name_), how.limits);
    Message message{.kind = MessageKind::kInfo, .request = request.request};
    put_info(*media_, message);
    send(message);
  }

  static void put_info(Media& media, Message& message) {
    WireWriter out(message);
    const MediaInfo& info = media.info();
    out.put(info.kind);
    out.put(std::string_view(info.container));
    out.put(info.start_seconds);
    out.put(info.duration_seconds);
    out.put(info.video_stream);
    out.put(media.impl().image_sizes);
    out.put(static_cast<std::uint64_t>(info.streams.size()));
    for (const StreamInfo& s : info.streams) put_stream(s, out);
  }

  static void put_stream(const StreamInfo& s, WireWriter& out) {
    out.put(s.index);
    for (const std::string* text :
         {&s.type, &s.codec, &s.pixel_format, &s.color_range, &s.color_matrix, &s.color_primaries,
          &s.color_transfer, &s.field_order}) {
      out.put(std::string_view(*text));
    }
    out.put(s.width);
    out.put(s.height);
    out.put(s.rotation);
    out.put(s.flipped);
    out.put(s.fps);
    out.put(s.frame_count);
    out.put(s.time_base_num);
    out.put(s.time_base_den);
    out.put(s.start_seconds);
    out.put(s.duration_seconds);
    out.put(s.bit_depth);
    out.put(s.sample_aspect_ratio);
    out.put(s.cover);
  }

  void tell_index(std::uint32_t request) {
    const FrameIndex& index = media_->frame_index();
    Message message{.kind = MessageKind::kTable, .request = request};
    WireWriter out(message);
    out.put(index.pts);
    out.put(index.ticks);
    out.put(index.keyframe);
    out.put(index.end_seconds);
    out.put(index.fps);
    out.put(index.truncated);
    out.put(index.warnings);
    send(message);
  }

  /// Frames into slots as they become free. Returns the request that came instead, if one did.
  std::optional<Message> send_frames(const Message& request) {
    WireReader in(request);
    auto how = in.get<FrameRequest>();
    how.options.progress = &watch_.signs();
    watch_.expect(how.limits.stall_seconds);
    FrameReader reader(*media_, in.get_values<std::int64_t>(), how.limits, nullptr, how.options);
    std::size_t free = kFrameSlots;
    std::uint32_t slot = 0;
    FrameClock clock{};
    const auto next = [&](RgbFrame& frame) {
      clock.begin_ns = Timeline::now_ns();
      const bool got = reader.next(frame);
      clock.end_ns = Timeline::now_ns();
      return got;
    };
    for (RgbFrame frame; next(frame); slot = (slot + 1) % kFrameSlots) {
      while (free == 0) {
        Message other = wait();
        if (other.kind != MessageKind::kFree) return other;
        if (other.request == request.request) ++free;
        watch_.expect(how.limits.stall_seconds);
      }
      --free;
      Message message{.kind = MessageKind::kFrame, .request = request.request};
      WireWriter out(message);
      out.put(FrameHeader{
          .slot = slot,
          .height = frame.pixels.size(0),
          .width = frame.pixels.size(1),
          .index = frame.index,
          .times = reader.times(),
          .frames_decoded = reader.frames_decoded(),
          .seeks = reader.seeks(),
      });
      out.put(clock);
      copy_pixels(frame.pixels, slots_ + slot * slot_bytes_);
      send(message);
    }
    Message end{.kind = MessageKind::kEnd, .request = request.request};
    WireWriter out(end);
    out.put(FrameTotals{reader.times(), reader.frames_decoded(), reader.seeks()});
    out.put(reader.warnings());
    send(end);
    return std::nullopt;
  }

  void copy_pixels(TensorView<const std::uint8_t> pixels, std::uint8_t* to) const {
    const std::int64_t row_bytes = pixels.size(1) * 3;
    check_slot(name_, pixels.size(0), pixels.size(1), slot_bytes_, limits_);  // sizes may change
    for (std::int64_t y = 0; y < pixels.size(0); ++y) {
      std::memcpy(to + y * row_bytes, pixels.row(y), static_cast<std::size_t>(row_bytes));
    }
  }

  int socket_, bytes_, frames_;
  Inbox inbox_;
  Watch& watch_;
  std::string name_;
  Limits limits_;
  std::int64_t slot_bytes_ = 0;
  std::uint8_t* slots_ = nullptr;
  std::optional<Media> media_;
};

}  // namespace

std::int64_t frame_slot_bytes(const Limits& limits) {
  constexpr std::int64_t kPage = 4096;
  const std::int64_t bytes = checked_mul(limits.frame_pixels, 3, "a frame");
  const std::int64_t largest = checked_add(bytes, kPage - 1, "a frame") / kPage * kPage;
  const rlim_t most = file_size_limit() / kFrameSlots / kPage * kPage;
  return most < static_cast<rlim_t>(largest) ? static_cast<std::int64_t>(most) : largest;
}

void check_slot(const std::string& name, std::int64_t height, std::int64_t width,
                std::int64_t slot_bytes, const Limits& limits) {
  if (width <= 0 || height <= slot_bytes / 3 / width) return;
  if (height > limits.frame_pixels / width) {
    throw_error(ErrorCode::kLimit, "{}: a frame of {}x{}, over the limit frame-pixels ({})", name,
                width, height, limits.frame_pixels);
  }
  throw_error(ErrorCode::kLimit,
              "{}: frames of {}x{} need {} bytes of shared memory to be decoded in a sandbox, over "
              "the file-size limit of this process (ulimit -f, RLIMIT_FSIZE)",
              name, width, height, static_cast<std::int64_t>(kFrameSlots) * 3 * width * height);
}

void serve_decoder(int socket, int bytes, int frames) noexcept {
  ::prctl(PR_SET_NAME, "reelm-decoder");
  try {
    const SerialLoops serial;    // the parent's threads have the cores
    static Watch watch(socket);  // its thread goes on to the end
    Decoder(socket, bytes, frames, watch).run();
  } catch (...) {
    // The other end is gone, or nothing can be told any more.
  }
  ::_exit(0);
}

}  // namespace reelm::preprocess
