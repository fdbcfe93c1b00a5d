// The user's side of a confined decoder. Not installed.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "preprocess/byte_source.h"
#include "preprocess/descriptor.h"
#include "preprocess/media.h"
#include "preprocess/media_impl.h"
#include "preprocess/sandbox.h"
#include "preprocess/sandbox/decoder_process.h"
#include "preprocess/sandbox/wire.h"

namespace reelm::preprocess {

/// What the decoder said when it opened its source.
struct RemoteInfo {
  MediaInfo info;  ///< but name and size_bytes
  ImageSizes image_sizes;
};

/// One confined decoder with one source. All it says is checked: what cannot be is Error{kFormat}.
/// Not thread-safe. Ends the decoder when it goes.
class RemoteDecoder {
 public:
  /// Talks over `socket`; pixels come in `frames`, a file of kFrameSlots slots of `slot_bytes`.
  /// Throws Error{kOutOfMemory}.
  RemoteDecoder(Descriptor socket, const Descriptor& frames, std::int64_t slot_bytes,
                std::string name, const Limits& limits);
  ~RemoteDecoder();
  RemoteDecoder(const RemoteDecoder&) = delete;
  RemoteDecoder& operator=(const RemoteDecoder&) = delete;

  /// Throws as the constructor of Media.
  RemoteInfo open(std::int64_t memory_bytes, const CancelToken* cancel);

  /// Throws as Media::frame_index.
  FrameIndex frame_index(const CancelToken* cancel);

  /// Begins to send the frames `indices` (rising, no repeats).
  void begin_frames(const std::vector<std::int64_t>& indices, const FrameRequest& request);
  /// The next frame of begin_frames(): its header, checked against the limits and `expected`, the
  /// index it must have. Its pixels are in pixels(header) until free_slot().
  /// Throws as FrameReader::next.
  FrameHeader next_frame(std::int64_t expected, const CancelToken* cancel);
  TensorView<const std::uint8_t> pixels(const FrameHeader& header) const;
  void free_slot();
  /// After the last frame.
  FrameTotals end_frames(const CancelToken* cancel, std::vector<std::string>& warnings);

 private:
  void request(Message message);
  Message answer(MessageKind kind, std::size_t most_bytes, const CancelToken* cancel);
  [[noreturn]] void fail(const Message& message) const;
  [[noreturn]] void died(const Message& message) const;
  [[noreturn]] void refuse(std::string_view what) const;

  std::string name_;
  Limits limits_;
  std::int64_t slot_bytes_;
  Descriptor socket_;  // closing it ends the decoder
  std::uint8_t* slots_ = nullptr;
  Inbox inbox_;
  bool opened_ = false;
  std::uint32_t request_ = 0;  // number of the last call
};

/// A new decoder for `bytes`. Throws Error: kIo, kOutOfMemory.
std::unique_ptr<RemoteDecoder> start_decoder(const Sandbox& sandbox, ByteSource& bytes,
                                             std::string name, const Limits& limits);

/// A file in memory that can neither grow nor shrink any more. Throws Error: kOutOfMemory; kLimit
/// when it is over RLIMIT_FSIZE, which ends a process that tries.
Descriptor make_memory_file(std::int64_t bytes, const std::string& name);

}  // namespace reelm::preprocess
