// The tokenizer of models with made-up weights. Not installed.
#pragma once

#include <cstdint>
#include <memory>

#include "llm/tokenizer.h"

namespace reelm::pipeline {

/// One token a byte, and the special tokens of Qwen2-VL: where its vocabulary has them, or at the
/// end of a smaller one. Any other id of the vocabulary shows as a letter.
std::unique_ptr<const llm::Tokenizer> make_byte_tokenizer(std::int64_t vocab_size);

}  // namespace reelm::pipeline
