#include "preprocess/reorder_watch.h"

#include <algorithm>

namespace reelm::preprocess {

ReorderWatch::ReorderWatch(const AVCodecParameters& parameters) {
  const AVCodecID id = parameters.codec_id;
  const bool numbered = id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_HEVC || id == AV_CODEC_ID_MPEG4;
  if (parameters.video_delay == 0 || !numbered) return;
  codec_.reset(avcodec_alloc_context3(nullptr));
  parser_.reset(av_parser_init(id));
  if (!codec_ || !parser_ || avcodec_parameters_to_context(codec_.get(), &parameters) < 0) return;
  parser_->flags |= PARSER_FLAG_COMPLETE_FRAMES;
  watching_ = true;
}

void ReorderWatch::look(const AVPacket& packet) {
  watching_ = watching_ && packet.pts == packet.dts && packet.pts != AV_NOPTS_VALUE;
  if (!watching_ || reordered_) return;
  std::uint8_t* data = nullptr;
  int size = 0;
  av_parser_parse2(parser_.get(), codec_.get(), &data, &size, packet.data, packet.size, packet.pts,
                   packet.dts, packet.pos);
  if (codec_->codec_id == AV_CODEC_ID_MPEG4) {
    reordered_ = parser_->pict_type == AV_PICTURE_TYPE_B;
    return;
  }
  const int number = parser_->output_picture_number;
  const bool key = (packet.flags & AV_PKT_FLAG_KEY) != 0;  // numbers begin again there
  reordered_ = !key && number < last_number_;
  last_number_ = key ? number : std::max(number, last_number_);
}

}  // namespace reelm::preprocess
