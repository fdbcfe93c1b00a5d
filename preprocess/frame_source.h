// What a FrameReader gets its frames from. Not installed.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "preprocess/frame_reader.h"
#include "preprocess/media_impl.h"

namespace reelm::preprocess {

/// Everything a FrameReader was asked for. The vector and the references outlive the source.
struct FrameOrder {
  Media& media;
  const std::vector<std::int64_t>& indices;  ///< rising; repeats allowed
  const Limits& limits;
  const CancelToken* cancel;
  const FrameReader::Options& options;
};

class FrameSource {
 public:
  virtual ~FrameSource() = default;
  /// The frame of the next index that differs from the one before: pixels and pts. Called in order.
  /// Throws as FrameReader::next.
  virtual void read(std::int64_t index, RgbFrame& frame) = 0;
  /// After the last frame: what went wrong, one line each.
  virtual void finish(std::vector<std::string>& warnings) { (void)warnings; }
  /// Of this source alone: `open` is for the decoder, `scan` 0.
  virtual const StageTimes& times() const noexcept = 0;
  virtual std::int64_t frames_decoded() const noexcept { return 0; }
  virtual std::int64_t seeks() const noexcept { return 0; }
};

/// The warning that another frame stands in for `missing` of the `n` frames asked for.
std::string undecoded_frames(const std::string& name, std::int64_t missing, std::int64_t n,
                             std::int64_t first);

/// A still.
std::unique_ptr<FrameSource> make_image_frames(const FrameOrder& order);
/// An animated WebP. Throws Error: kFormat, kOutOfMemory.
std::unique_ptr<FrameSource> make_animation_frames(const FrameOrder& order);
/// Any other video, decoded by this process. Throws Error{kUnsupported} without a decoder.
std::unique_ptr<FrameSource> make_video_frames(const FrameOrder& order);
/// Any of them, decoded by the process of a sandbox.
std::unique_ptr<FrameSource> make_remote_frames(const FrameOrder& order);

}  // namespace reelm::preprocess
