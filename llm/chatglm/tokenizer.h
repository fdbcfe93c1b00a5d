// The tokenizer of the first ChatGLM: SentencePiece with pieces for white space. Not installed.
#pragma once

#include <memory>

#include "core/limits.h"
#include "core/model_files.h"
#include "llm/tokenizer.h"

namespace reelm::llm::chatglm {

/// The file that says a model has this tokenizer.
inline constexpr const char* kTokenizerFile = "ice_text.model";

/// Loads ice_text.model. Line ends, tabs and runs of 2 to 80 spaces have pieces of their own:
/// "<n>", "<|tab|>" and "<|blank_2|>" to "<|blank_80|>". Text that spells one of these is that
/// piece, as in the reference. Ids begin behind `num_image_tokens` of tokenizer_config.json (20,000
/// where it does not say), which stand for no text. Special tokens are the control and unknown
/// pieces ([gMASK], <sop>, <eop>, ...). Throws Error as load_sentencepiece, and kFormat naming
/// tokenizer_config.json. Source: SPTokenizer of tokenization_chatglm.py of ChatGLM-6B.
std::unique_ptr<Tokenizer> load_tokenizer(const ModelFiles& files, const Limits& limits);

}  // namespace reelm::llm::chatglm
