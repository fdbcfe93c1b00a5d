// Sizes of Qwen2.5-VL's language model: Qwen2-VL's, and how fast its positions run in a video.
#pragma once

#include "../../core/limits.h"
#include "../../core/model_files.h"
#include "../qwen2/config.h"

namespace reelm::llm::qwen2_5_vl {

/// What Qwen2.5-VL's config.json says of the language model.
struct Config {
  qwen2::DecoderConfig decoder;
  double tokens_per_second = 4;  ///< of `vision_config`: temporal positions in a second of video
};

/// Reads config.json in both layouts, as qwen2_vl::load_decoder_config. Throws
/// Error naming the key, what was found and what was expected.
Config load_config(const ModelFiles& files, const Limits& limits = {});

}  // namespace reelm::llm::qwen2_5_vl
