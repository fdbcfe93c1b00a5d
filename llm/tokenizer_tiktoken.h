// Reading the rank file of a tiktoken encoding. Not installed.
#pragma once

#include "core/limits.h"
#include "core/model_files.h"
#include "llm/tokenizer_bpe.h"

namespace reelm::llm {

/// The name that the first Qwen has it under.
inline constexpr const char* kTiktokenFile = "qwen.tiktoken";

/// Reads the rank file of a model: a line a token, its bytes in base64, a space, its rank, which is
/// its id. The special tokens follow the last: `<|endoftext|>`, `<|im_start|>`, `<|im_end|>`,
/// `<|extra_0|>` to
/// `<|extra_204|>`. Throws Error: kFormat naming file and line, or the rank that is there twice or
/// not at all; kLimit (json-bytes). Source: tokenization_qwen.py of Qwen-7B-Chat, and tiktoken's
/// byte_pair_merge, where any two neighbours that together are a token merge.
BpeData read_tiktoken(const ModelFiles& files, const Limits& limits);

}  // namespace reelm::llm
