// Decoding untrusted media in processes that can do nothing else.
#pragma once

#include <cstdint>
#include <memory>

namespace reelm::preprocess {

/// Where confined decoders come from. Each Media that is given one is demuxed and decoded (images
/// too) by a process of its own, which may read that one source, compute, and hand out pixels
/// through shared memory, and nothing more: no files, no network, no programs (seccomp), limited
/// memory. What it says is checked before it is used. Frames, times, warnings and errors are those
/// of decoding in this process; a decoder that crashes or is ended is an Error like a broken file.
class Sandbox {
 public:
  struct Options {
    /// Writable memory of one decoder, beside the frames it hands out.
    std::int64_t memory_bytes = std::int64_t{2} << 30;
  };

  /// Forks a process, now, that will fork the decoders: while this process has one thread and
  /// nothing worth reading in its memory, so best first in main().
  /// Throws Error: kInvalidArgument (there are other threads), kUnsupported (not on this system),
  /// kIo (no process).
  static std::unique_ptr<Sandbox> start(const Options& options);
  static std::unique_ptr<Sandbox> start();
  /// Whether start() can work on this system.
  static bool available() noexcept;

  /// Ends the forked process. Decoders at work go on until their Media is gone.
  ~Sandbox();
  Sandbox(const Sandbox&) = delete;
  Sandbox& operator=(const Sandbox&) = delete;

  /// For RemoteDecoder only. Thread-safe. A new decoder that talks over `socket`, reads `bytes` and
  /// writes frames to `frames` (descriptors of the caller, who keeps them). Throws Error{kIo}.
  void fork_decoder(int socket, int bytes, int frames) const;
  const Options& options() const noexcept { return options_; }

 private:
  Sandbox(int control, int process, const Options& options)
      : control_(control), process_(process), options_(options) {}

  int control_;
  int process_;
  Options options_;
};

}  // namespace reelm::preprocess
