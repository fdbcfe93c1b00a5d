#include "preprocess/ffmpeg.h"

#include <mutex>

#include "core/throw.h"

namespace reelm::preprocess {

std::string ffmpeg_error(int code) {
  char text[AV_ERROR_MAX_STRING_SIZE] = {};
  if (av_strerror(code, text, sizeof text) < 0) return "error " + std::to_string(code);
  return text;
}

void silence_ffmpeg() {
  static std::once_flag once;
  std::call_once(once, [] { av_log_set_callback([](void*, int, const char*, va_list) {}); });
}

PacketPtr make_packet() {
  PacketPtr packet(av_packet_alloc());
  if (!packet) throw_error(ErrorCode::kOutOfMemory, "a packet: allocation refused");
  return packet;
}

FramePtr make_frame() {
  FramePtr frame(av_frame_alloc());
  if (!frame) throw_error(ErrorCode::kOutOfMemory, "a frame: allocation refused");
  return frame;
}

}  // namespace reelm::preprocess
