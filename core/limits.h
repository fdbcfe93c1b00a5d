// Every limit in one place. All are on by default; each is named in the error it raises.
#pragma once

#include <cstddef>
#include <cstdint>

namespace reelm {

/// What an input may cost at most. The command line has a flag `--limit-<name>` for each.
struct Limits {
  std::int64_t frame_pixels = 16'777'216;            ///< width * height of a coded frame or image
  std::int64_t media_bytes = std::int64_t{8} << 30;  ///< bytes spooled from standard input
  std::int64_t image_bytes = 256 << 20;              ///< size of a PNG, JPEG or WebP file
  /// decoded frames alive at a time, those of the decoder's threads and references included
  std::int64_t decoded_bytes = std::int64_t{1} << 30;
  std::int64_t frames_considered = 2'000'000;  ///< frames in a container (about 18 h at 30 fps)
  std::int64_t frames_kept = 4'096;            ///< frames sampled from one video
  std::int64_t probe_bytes = 64 << 20;         ///< bytes read to open and recognise a container
  double probe_seconds = 10.0;                 ///< time to open and recognise a container
  double stall_seconds = 30.0;                 ///< decoding without a new frame, or of an image
  std::int64_t streams = 64;                   ///< streams in a container
  std::int64_t media_count = 64;               ///< videos and images in one prompt
  std::int64_t prompt_tokens = 131'072;        ///< tokens of a prompt, vision tokens included
  std::int64_t request_bytes = std::int64_t{20} << 30;  ///< memory one request may plan for
  std::int64_t json_bytes = 64 << 20;   ///< size of a JSON file (tokenizer.json: 7 MB)
  std::int64_t json_depth = 64;         ///< nesting of a JSON document
  std::int64_t tensor_count = 100'000;  ///< tensors in a checkpoint
  std::int64_t tensor_rank = 8;         ///< sizes of a tensor in a checkpoint
};

}  // namespace reelm
