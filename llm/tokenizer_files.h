// Reading the files of a byte-level BPE tokenizer. Not installed.
#pragma once

#include <functional>
#include <string_view>

#include "core/limits.h"
#include "core/model_files.h"
#include "llm/tokenizer_bpe.h"

namespace reelm::llm {

/// Hands out the lines of a text that are not empty, without their ends, and their numbers from 1.
/// Throws what `take` throws.
void for_each_line(std::string_view text,
                   const std::function<void(std::string_view, std::size_t)>& take);

/// Reads `tokenizer.json` of the `tokenizers` library. Throws Error: kFormat naming the file and
/// the item, kUnsupported when model, normaliser, pre-tokeniser, decoder or post-processor are not
/// those of Qwen2 (naming what was found), kLimit.
BpeData read_tokenizer_json(const ModelFiles& files, const Limits& limits);

/// Reads `vocab.json` and `merges.txt`, and `added_tokens.json` if there is one.
/// The rest is as Qwen2Tokenizer of transformers sets it up.
BpeData read_vocab_and_merges(const ModelFiles& files, const Limits& limits);

/// Adds the tokens of `tokenizer_config.json` (`added_tokens_decoder`) that `data` does not have
/// yet, and marks as special those that it lists as special tokens. Does nothing without that file.
void add_config_tokens(const ModelFiles& files, const Limits& limits, BpeData& data);

}  // namespace reelm::llm
