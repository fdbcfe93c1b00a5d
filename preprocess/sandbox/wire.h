// Messages between a decoder process and the one that uses it. Not installed.
//
// Both sides run the same program image (one was forked from the other), so plain structs travel as
// they lie in memory. The decoder is not trusted: the parent takes lengths through the bounds of
// WireReader and checks every value it uses (remote_decoder.cc).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"

namespace reelm::preprocess {

enum class MessageKind : std::uint32_t {
  // To the decoder.
  kOpen,    ///< Limits, memory_bytes, name
  kIndex,   ///< nothing
  kFrames,  ///< FrameRequest, indices
  kFree,    ///< nothing: one more slot may be written
  // From the decoder.
  kInfo,    ///< what describes the media
  kTable,   ///< the frame index
  kFrame,   ///< FrameHeader; the pixels are in its slot
  kEnd,     ///< after the last frame: FrameTotals, warnings
  kFailed,  ///< ErrorCode, what()
  // From the process that forked the decoder.
  kDied,  ///< wait status (int)
};

/// `request` says what a message answers (or frees a slot of): answers to calls that were given up
/// are told apart and dropped.
struct Message {
  MessageKind kind{};
  std::uint32_t request = 0;
  std::vector<std::byte> body = {};
};

/// Appends values to a message.
class WireWriter {
 public:
  explicit WireWriter(Message& to) : body_(to.body) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const T& value) { append(&value, sizeof value); }
  template <typename T>
  void put(const std::optional<T>& value) {
    put(static_cast<std::uint8_t>(value.has_value()));
    if (value) put(*value);
  }
  void put(std::string_view text) {
    put(static_cast<std::uint64_t>(text.size()));
    append(text.data(), text.size());
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T>
  void put(const std::vector<T>& values) {
    put(static_cast<std::uint64_t>(values.size()));
    append(values.data(), values.size() * sizeof(T));
  }
  void put(const std::vector<std::string>& lines) {
    put(static_cast<std::uint64_t>(lines.size()));
    for (const std::string& line : lines) put(std::string_view(line));
  }

 private:
  void append(const void* from, std::size_t n) {
    if (n == 0) return;
    body_.resize(body_.size() + n);
    std::memcpy(body_.data() + body_.size() - n, from, n);
  }
  std::vector<std::byte>& body_;
};

/// Takes values from a message in the order they were put. A message that is too short is
/// Error{kFormat}.
class WireReader {
 public:
  explicit WireReader(const Message& from) : body_(from.body) {}

  template <typename T>
  requires std::is_trivially_copyable_v<T> T get() {
    T value;
    take(&value, sizeof value);
    return value;
  }
  template <typename T>
  std::optional<T> get_optional() {
    if (get<std::uint8_t>() == 0) return std::nullopt;
    return get<T>();
  }
  std::string get_text() {
    std::string text(count(1), '\0');
    take(text.data(), text.size());
    return text;
  }
  template <typename T>
  requires std::is_trivially_copyable_v<T> std::vector<T> get_values() {
    std::vector<T> values(count(sizeof(T)));
    take(values.data(), values.size() * sizeof(T));
    return values;
  }
  std::vector<std::string> get_lines() {
    std::vector<std::string> lines(count(sizeof(std::uint64_t)));
    for (std::string& line : lines) line = get_text();
    return lines;
  }

 private:
  /// A length, which what is left of the message must hold.
  std::size_t count(std::size_t item_bytes) {
    const auto n = get<std::uint64_t>();
    if (n > (body_.size() - at_) / item_bytes) refuse();
    return static_cast<std::size_t>(n);
  }
  void take(void* to, std::size_t n) {
    if (n > body_.size() - at_) refuse();
    if (n > 0) std::memcpy(to, body_.data() + at_, n);
    at_ += n;
  }
  [[noreturn]] static void refuse() {
    throw Error(ErrorCode::kFormat, "the decoder process sent a message that is too short");
  }

  const std::vector<std::byte>& body_;
  std::size_t at_ = 0;
};

/// Sends all of it. False when the other side is gone. Never raises SIGPIPE.
bool send_message(int socket, const Message& message);

/// The messages that come over a socket. A call that is cancelled in the middle of a message loses
/// nothing: the next one goes on there.
class Inbox {
 public:
  /// `socket` stays open as long as the inbox.
  explicit Inbox(int socket) noexcept : socket_(socket) {}

  /// Waits for the next message, of a body of at most `most_bytes` (more is Error{kFormat}). False
  /// when the other side is gone. Throws Error: kCancelled (within 50 ms), kIo.
  bool receive(std::size_t most_bytes, const CancelToken* cancel, Message& message);

 private:
  bool fill(void* to, std::size_t n, std::size_t& done, const CancelToken* cancel) const;

  int socket_;
  std::array<std::byte, 16> header_;
  std::size_t header_done_ = 0;
  std::vector<std::byte> body_;
  std::size_t body_done_ = 0;
};

}  // namespace reelm::preprocess
