// Owners for FFmpeg's objects, and its errors in words. Not installed. FFmpeg 5 to 7.
#pragma once

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libavutil/display.h>
#include <libavutil/imgutils.h>
#include <libavutil/pixdesc.h>
#include <libswscale/swscale.h>
}

#include <memory>
#include <string>

namespace reelm::preprocess {

struct PacketDeleter {
  void operator()(AVPacket* p) const noexcept { av_packet_free(&p); }
};
struct FrameDeleter {
  void operator()(AVFrame* p) const noexcept { av_frame_free(&p); }
};
struct CodecDeleter {
  void operator()(AVCodecContext* p) const noexcept { avcodec_free_context(&p); }
};
struct ScalerDeleter {
  void operator()(SwsContext* p) const noexcept { sws_freeContext(p); }
};
using PacketPtr = std::unique_ptr<AVPacket, PacketDeleter>;
using FramePtr = std::unique_ptr<AVFrame, FrameDeleter>;
using CodecPtr = std::unique_ptr<AVCodecContext, CodecDeleter>;
using ScalerPtr = std::unique_ptr<SwsContext, ScalerDeleter>;

/// FFmpeg's words for a negative return value.
std::string ffmpeg_error(int code);

/// Stops FFmpeg from writing to standard error, for the whole process and once: a library prints
/// nothing. A program that wants FFmpeg's log installs its own av_log_set_callback afterwards.
void silence_ffmpeg();

/// Throws Error{kOutOfMemory} for nullptr.
PacketPtr make_packet();
FramePtr make_frame();

}  // namespace reelm::preprocess
