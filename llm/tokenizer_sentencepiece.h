// SentencePiece models behind the Tokenizer interface. Not installed.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>

#include "core/limits.h"
#include "llm/tokenizer.h"

namespace reelm::llm {

/// Loads a SentencePiece model (unigram, BPE, word, char). encode() is libsentencepiece's Encode
/// without extra options: no <s> or </s> is added. Special tokens are the control and unknown
/// pieces; with specials, each stretch of text between two of them is encoded on its own. decode()
/// drops the space that the dummy prefix puts first. `more_specials` are special tokens that the
/// file does not have: their ids follow the last piece. Throws Error: kNotFound, kIo, kFormat,
/// kLimit (json-bytes bounds the file), kUnsupported.
std::unique_ptr<Tokenizer> load_sentencepiece(const std::filesystem::path& path,
                                              const Limits& limits,
                                              std::span<const std::string> more_specials = {});

}  // namespace reelm::llm
