// What the metadata of GGUF files say, as the small files of a model directory. Not installed.
#pragma once

#include "core/gguf.h"
#include "core/model_files.h"
#include "pipeline/gguf/family.h"

namespace reelm::pipeline::gguf {

/// config.json, generation_config.json, vocab.json, merges.txt, tokenizer_config.json and, with a
/// tower (`mmproj`, else null), preprocessor_config.json. Throws Error naming file and key: kFormat
/// (missing, or not what it should be), kUnsupported (a tokenizer other than Qwen2's; another
/// projector).
ModelFiles make_texts(const GgufFile& file, const GgufFile* mmproj, const Family& family);

}  // namespace reelm::pipeline::gguf
