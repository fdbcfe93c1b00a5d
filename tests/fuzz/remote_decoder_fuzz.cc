// What a decoder process that was taken over sends: per message a kind, the call it answers, a
// length and a body; after a first byte of 0xff the raw bytes of the socket.
// Holds: what RemoteDecoder hands on can be used as if this process had decoded it.
#include <fcntl.h>
#include <sys/socket.h>

#include <cmath>
#include <numeric>

#include "core/parallel.h"
#include "preprocess/patch_reader.h"
#include "preprocess/plan.h"
#include "preprocess/sandbox/remote_decoder.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {
namespace {

using namespace preprocess;

Limits strict_limits() {
  Limits limits;
  limits.frame_pixels = 10'000;
  limits.frames_considered = 1000;
  limits.frames_kept = 8;
  limits.streams = 8;
  return limits;
}

/// Everything at once into the socket, which must not block: whatever does not fit is lost.
void send(Bytes input, int socket) {
  REELM_CHECK(::fcntl(socket, F_SETFL, O_NONBLOCK) == 0);
  Input in(input);
  if (!input.empty() && input[0] == 0xff) {
    (void)::send(socket, input.data() + 1, input.size() - 1, MSG_NOSIGNAL);
  } else {
    while (!in.empty()) {
      Message message{.kind = static_cast<MessageKind>(in.take<std::uint8_t>()),
                      .request = in.take<std::uint8_t>()};
      const Bytes body = in.bytes(in.take<std::uint16_t>());
      message.body.resize(body.size());
      if (!body.empty()) std::memcpy(message.body.data(), body.data(), body.size());
      if (!send_message(socket, message)) break;
    }
  }
  ::shutdown(socket, SHUT_WR);
}

/// A media whose decoder is `remote`, as the constructor with a sandbox makes it.
Media confined(std::unique_ptr<RemoteDecoder> remote) {
  // Any small thing that opens, to be replaced.
  static const MediaSource source = MediaSource::from_path(std::filesystem::path(REELM_SOURCE_DIR) /
                                                           "tests/goldens/media/ring.webp");
  Media media(source);
  RemoteInfo opened = remote->open(1 << 20, nullptr);
  Media::Impl& m = media.impl();
  m.remote = std::move(remote);
  m.info = std::move(opened.info);
  m.image_sizes = opened.image_sizes;
  m.info.name = "clip";
  return media;
}

void check(const MediaInfo& info) {
  REELM_CHECK(is_one_line(info.container));
  REELM_CHECK(std::isfinite(info.start_seconds) && std::isfinite(info.duration_seconds));
  for (const StreamInfo& s : info.streams) {
    for (const std::string& text : {s.type, s.codec, s.pixel_format, s.color_range, s.color_matrix,
                                    s.color_primaries, s.color_transfer}) {
      REELM_CHECK(is_one_line(text));
    }
    REELM_CHECK(std::isfinite(s.start_seconds.value_or(0)));
    REELM_CHECK(std::isfinite(s.duration_seconds.value_or(0)));
    REELM_CHECK(s.time_base_den > 0);
  }
}

void read_frames(Media& media, const Limits& limits) {
  const std::int64_t total = media.is_image() ? 1 : media.frame_index().size();
  std::vector<std::int64_t> indices(static_cast<std::size_t>(std::min<std::int64_t>(total, 3)));
  std::iota(indices.begin(), indices.end(), 0);
  FrameReader reader(media, indices, limits);
  for (RgbFrame frame; reader.next(frame);) {
    const auto height = frame.pixels.size(0), width = frame.pixels.size(1);
    REELM_CHECK(height > 0 && width > 0 && width <= limits.frame_pixels / height);
    const std::uint8_t* last = frame.pixels.row(height - 1) + width * 3 - 1;
    [[maybe_unused]] const volatile int sum = frame.pixels.row(0)[0] + *last;
  }
  for (const std::string& warning : reader.warnings()) REELM_CHECK(is_one_line(warning));
}

void read_patches(Media& media, const Limits& limits) {
  SamplingOptions options;
  if (!media.is_image()) options.frames = 4;
  options.min_pixels = 28 * 28;
  options.max_pixels = 28 * 28 * 4;
  const PreprocessorConfig config;
  const MediaPlan plan = plan_media(media, config, options, limits);
  for (const std::string& warning : plan.warnings) REELM_CHECK(is_one_line(warning));
  for (const double pts : plan.frame_pts) REELM_CHECK(std::isfinite(pts));
  PatchReader reader(media, plan, config, limits);
  for (PatchBatch slice; reader.next(slice);) {
    REELM_CHECK(slice.pixels.size(0) == plan.grid_thw[1] * plan.grid_thw[2]);
  }
}

}  // namespace

void fuzz_one(Bytes input) {
  static const Limits limits = strict_limits();
  static const std::int64_t slot_bytes = frame_slot_bytes(limits);
  static const Descriptor frames =
      make_memory_file(slot_bytes * static_cast<std::int64_t>(kFrameSlots), "frames");
  set_num_threads(1);
  int ends[2];
  REELM_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  Descriptor ours(ends[0]);
  const Descriptor theirs(ends[1]);
  send(input, theirs.get());
  succeeds([&] {
    Media media = confined(
        std::make_unique<RemoteDecoder>(std::move(ours), frames, slot_bytes, "clip", limits));
    check(media.info());
    succeeds([&] { read_frames(media, limits); });
    read_patches(media, limits);
  });
}

}  // namespace reelm::fuzz
