// What a confined decoder does: opens one source, tells about it, hands out frames. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "core/limits.h"
#include "preprocess/frame_reader.h"

namespace reelm::preprocess {

/// Frames in shared memory at a time: one the parent works on, one that is written.
inline constexpr std::size_t kFrameSlots = 2;

/// Bytes of a slot: the largest frame that the limits allow, RGB8, in whole pages; less where the
/// file-size limit of this process (RLIMIT_FSIZE, which counts for shared memory too) allows less.
std::int64_t frame_slot_bytes(const Limits& limits);

/// Throws Error{kLimit} when a frame does not fit into a slot. `name`: of the medium.
void check_slot(const std::string& name, std::int64_t height, std::int64_t width,
                std::int64_t slot_bytes, const Limits& limits);

/// Fixed part of MessageKind::kOpen; the source's name follows.
struct OpenRequest {
  Limits limits;
  std::int64_t memory_bytes;
  std::int64_t slot_bytes;
};

/// Fixed part of MessageKind::kFrames; the indices follow.
struct FrameRequest {
  Limits limits;
  FrameReader::Options options;
};

/// MessageKind::kFrame. The pixels are dense, [height, width, 3], at the start of the slot.
struct FrameHeader {
  std::uint32_t slot;
  std::int64_t height;
  std::int64_t width;
  std::int64_t index;
  StageTimes times;
  std::int64_t frames_decoded;
  std::int64_t seeks;
};

/// Behind the FrameHeader: when the frame was worked on (steady_clock, which all processes share).
struct FrameClock {
  std::int64_t begin_ns;
  std::int64_t end_ns;
};

/// Fixed part of MessageKind::kEnd; the warnings follow.
struct FrameTotals {
  StageTimes times;
  std::int64_t frames_decoded;
  std::int64_t seeks;
};

/// Serves requests on `socket` about the source `bytes`, writing pixels to `frames` (a memory file
/// of kFrameSlots slots), until the other end is closed. Never returns.
[[noreturn]] void serve_decoder(int socket, int bytes, int frames) noexcept;

}  // namespace reelm::preprocess
