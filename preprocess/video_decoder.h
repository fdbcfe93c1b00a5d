// Packets in, frames with their number out. Not installed.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <span>
#include <vector>

#include "core/cancel.h"
#include "core/limits.h"
#include "preprocess/ffmpeg.h"
#include "preprocess/frame_budget.h"
#include "preprocess/frame_runs.h"
#include "preprocess/media_impl.h"

namespace reelm::preprocess {

class VideoDecoder {
 public:
  /// `progress` as FrameReader::Options. Throws Error: kUnsupported without a decoder for the
  /// stream, kLimit (decoded-bytes), kOutOfMemory.
  VideoDecoder(Media::Impl& media, const Limits& limits, const CancelToken* cancel, int threads,
               std::atomic<std::int64_t>* progress);
  ~VideoDecoder();
  VideoDecoder(const VideoDecoder&) = delete;
  VideoDecoder& operator=(const VideoDecoder&) = delete;

  /// Moves to the first packet of `run` and empties the decoder.
  void begin(const FrameRun& run);

  /// The next frame of the run, `pts` holding its number in display order. False at the run's end.
  /// Frames that are not `wanted` (rising) may be left out where nothing refers to them.
  /// Throws Error: kLimit (stall-seconds, decoded-bytes), kIo, kCancelled, kOutOfMemory.
  bool receive(AVFrame& frame, std::span<const std::int64_t> wanted);

  std::int64_t frames_decoded() const noexcept { return frames_decoded_; }
  std::int64_t seeks() const noexcept { return seeks_; }

 private:
  void open_codec(int threads);
  bool position_at(std::int64_t start);
  std::int64_t identify(const AVPacket& packet) const;
  bool read_packet();
  void send(std::span<const std::int64_t> wanted);
  void check_memory(int result) const;
  void check_progress();

  Media::Impl& media_;
  Limits limits_;
  const CancelToken* cancel_;
  std::atomic<std::int64_t>* progress_;
  FrameBudget budget_;
  CodecPtr codec_;
  PacketPtr packet_;
  bool may_skip_ = false;      // the codec leaves out single frames when asked
  bool packet_waits_ = false;  // packet_ was read to find out where a seek landed
  bool draining_ = false;
  FrameRun run_;
  std::int64_t next_position_ = -1;  // of the packet the demuxer gives next; -1: unknown
  std::int64_t counted_ = 0;         // frames out, for PacketTable::counted
  std::int64_t frames_decoded_ = 0;
  std::int64_t seeks_ = 0;
  std::chrono::steady_clock::time_point last_progress_;
};

}  // namespace reelm::preprocess
