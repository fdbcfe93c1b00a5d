// A video or an image from a path, standard input or memory: what it is, and where its frames are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/limits.h"

namespace reelm::preprocess {

/// Where the bytes are. Cheap to copy; opened by Media.
class MediaSource {
 public:
  enum class Kind { kPath, kDescriptor, kMemory };

  /// A file. A FIFO or a device is spooled like standard input.
  static MediaSource from_path(std::filesystem::path path);
  /// An open descriptor (0: standard input), read from where it stands; not closed. Regular files
  /// are read in place, everything else is spooled to an unlinked temporary file of at most
  /// limits.media_bytes.
  static MediaSource from_descriptor(int fd, std::string name);
  /// Bytes that the source keeps alive.
  static MediaSource from_memory(std::shared_ptr<const std::vector<std::byte>> bytes,
                                 std::string name);
  /// Bytes that outlive the source.
  static MediaSource from_memory(std::span<const std::byte> bytes, std::string name);
  /// MEDIA of the command line: "-" is standard input, everything else a path.
  static MediaSource from_argument(const std::string& argument);

  /// Throws Error{kNotFound} for a path where nothing is, with a hint when it looks like the
  /// pattern of an image sequence; Error{kIo} for one that cannot be asked about.
  void check_exists() const;

  Kind kind() const noexcept { return kind_; }
  /// Named in errors: the path, "standard input", or what from_memory was given.
  const std::string& name() const noexcept { return name_; }
  const std::filesystem::path& path() const noexcept { return path_; }
  int descriptor() const noexcept { return descriptor_; }
  std::span<const std::byte> bytes() const noexcept { return bytes_; }

 private:
  MediaSource() = default;
  Kind kind_ = Kind::kPath;
  std::string name_;
  std::filesystem::path path_;
  int descriptor_ = -1;
  std::span<const std::byte> bytes_;
  std::shared_ptr<const std::vector<std::byte>> owner_;
};

/// One stream of a container. Text fields hold FFmpeg's names; "" is "not said".
struct StreamInfo {
  int index = 0;
  std::string type;   ///< "video", "audio", "subtitle", "data", "attachment", "unknown"
  std::string codec;  ///< "h264", "vp9", ...
  // Video streams only, from here on.
  std::string pixel_format;  ///< "yuv420p", "yuv420p10le", ...
  std::int64_t width = 0;    ///< as coded, before rotation
  std::int64_t height = 0;   ///< as coded, before rotation
  int rotation = 0;          ///< degrees clockwise to turn before showing: 0/90/180/270
  bool flipped = false;      ///< mirrored left to right before it is turned
  double fps = 0;            ///< average_rate of the header; 0: unknown
  std::optional<std::int64_t> frame_count;  ///< as the header announces; often missing
  std::int64_t time_base_num = 0;
  std::int64_t time_base_den = 1;
  std::optional<double> start_seconds;
  std::optional<double> duration_seconds;
  std::string color_range;   ///< "tv", "pc"
  std::string color_matrix;  ///< "bt709", "smpte170m", ...
  std::string color_primaries;
  std::string color_transfer;
  int bit_depth = 0;  ///< bits of one component
  double sample_aspect_ratio =
      1;                    ///< width : height of a pixel; see SamplingOptions::square_pixels
  std::string field_order;  ///< "progressive", "tt", "bb", "tb", "bt"
  bool cover = false;       ///< a picture attached to sound: never the one that is used

  bool is_hdr() const { return color_transfer == "smpte2084" || color_transfer == "arib-std-b67"; }
  bool is_interlaced() const { return !field_order.empty() && field_order != "progressive"; }
};

/// What opening a source tells, without reading all of it.
struct MediaInfo {
  enum class Kind { kImage, kVideo };
  Kind kind = Kind::kVideo;
  std::string name;       ///< of the source
  std::string container;  ///< "mov,mp4,m4a,3gp,3g2,mj2", "png", "jpeg", "webp", ...
  std::int64_t size_bytes = 0;
  double start_seconds = 0;         ///< where the container's clock starts
  double duration_seconds = 0;      ///< as the header says; 0: unknown or an image
  std::vector<StreamInfo> streams;  ///< one for an image
  int video_stream = -1;            ///< index into `streams` of the one that is used
  const StreamInfo& video() const { return streams.at(static_cast<std::size_t>(video_stream)); }
};

/// Every frame of the video stream that is shown, in the order it is shown.
struct FrameIndex {
  std::vector<double> pts;             ///< seconds on the stream's own clock, not decreasing
  std::vector<std::int64_t> ticks;     ///< the same in the stream's time base
  std::vector<std::uint8_t> keyframe;  ///< 1: decoding can start here
  double end_seconds = 0;              ///< last pts + its duration
  double fps = 0;                      ///< what the references are told: see Media::frame_index
  bool truncated = false;              ///< the container promised more than the bytes hold
  std::vector<std::string> warnings;   ///< one line each: lost frames, missing times, ...

  std::int64_t size() const noexcept { return static_cast<std::int64_t>(pts.size()); }
};

class Sandbox;

/// An opened source. Not thread-safe; movable. FFmpeg never opens anything by name: it reads
/// through this object only, and protocols, playlists and external references are refused.
class Media {
 public:
  /// Opens and recognises the source, within limits.probe_bytes and limits.probe_seconds.
  /// Throws Error: kNotFound (no such file, no video stream), kIo (directory, permission, read),
  /// kFormat (empty, unknown or broken), kUnsupported (a format that is recognised but refused),
  /// kLimit (media_bytes, streams, frame_pixels), kCancelled.
  /// In a process of its own with `sandbox`, which need not outlive the call.
  explicit Media(const MediaSource& source, const Limits& limits = {},
                 const CancelToken* cancel = nullptr, const Sandbox* sandbox = nullptr);
  Media(Media&&) noexcept;
  Media& operator=(Media&&) noexcept;
  ~Media();

  const MediaInfo& info() const noexcept;
  bool is_image() const noexcept { return info().kind == MediaInfo::Kind::kImage; }

  /// Times of all frames, from one pass over the packets (nothing is decoded); kept for later
  /// calls. It counts what the file really holds, whatever the header says. `fps` is the
  /// header's average rate, else frames / (end - start). Packets that
  /// are not shown (edit lists, VP8 alternate references) are left out; missing times are filled in
  /// with a warning. Throws Error: kFormat (no frame at all), kLimit (frames_considered),
  /// kCancelled, kInvalidArgument (an image).
  const FrameIndex& frame_index(const CancelToken* cancel = nullptr);

  /// Milliseconds spent in the constructor and in the first frame_index().
  double open_ms() const noexcept;
  double scan_ms() const noexcept;

  /// For the readers of this layer only.
  struct Impl;
  Impl& impl() noexcept { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::preprocess
