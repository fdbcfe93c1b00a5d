// The three image decoders behind image.h. Not installed.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "core/cancel.h"
#include "core/limits.h"
#include "preprocess/image.h"

namespace reelm::preprocess {

/// Ends the decoding of an image: on cancelling, or when it takes longer than the limit
/// stall-seconds (a progressive JPEG may have thousands of scans). Decoders in C poll over() and
/// leave; then check() throws.
class DecodeWatch {
 public:
  /// `name`, `limits` and `cancel` (may be null) outlive the watch.
  DecodeWatch(const std::string& name, const Limits& limits, const CancelToken* cancel)
      : name_(name), limits_(limits), cancel_(cancel) {}
  bool over() const noexcept {
    return seconds() > limits_.stall_seconds || (cancel_ != nullptr && cancel_->stopped());
  }
  /// Throws Error{kCancelled}, {kLimit}.
  void check() const;

 private:
  using Clock = std::chrono::steady_clock;
  double seconds() const noexcept {
    return std::chrono::duration<double>(Clock::now() - start_).count();
  }

  const std::string& name_;
  const Limits& limits_;
  const CancelToken* cancel_;
  const Clock::time_point start_ = Clock::now();
};

ImageHeader read_png_header(std::span<const std::byte> bytes, const std::string& name);
ImageHeader read_jpeg_header(std::span<const std::byte> bytes, const std::string& name);
ImageHeader read_webp_header(std::span<const std::byte> bytes, const std::string& name);

/// To `rgb` [height, width, 3] of the header's size.
void decode_png(std::span<const std::byte> bytes, const std::string& name,
                const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb);
void decode_jpeg(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb);
void decode_webp(std::span<const std::byte> bytes, const std::string& name,
                 const ImageHeader& header, const DecodeWatch& watch, std::uint8_t* rgb);

/// One pixel over white, in the integers of Pillow's paste with a mask (BLEND and DIV255).
inline std::uint8_t over_white(std::uint8_t value, std::uint8_t alpha) noexcept {
  const unsigned sum = 255u * (255u - alpha) + static_cast<unsigned>(value) * alpha + 128u;
  return static_cast<std::uint8_t>((sum + (sum >> 8)) >> 8);
}

}  // namespace reelm::preprocess
