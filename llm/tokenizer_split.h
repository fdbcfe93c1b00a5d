// Qwen2's pre-tokenisation. Not installed.
#pragma once

#include <cstddef>
#include <string_view>

namespace reelm::llm {

/// The pattern that next_word implements, as tokenizer.json spells it.
inline constexpr std::string_view kQwen2Pattern =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|)"
    R"(\s*[\r\n]+|\s+(?!\S)|\s+)";

/// End of the word that starts at text[begin], begin < text.size(): the leftmost match of
/// kQwen2Pattern there, whose alternatives leave no character out. Time linear in the word and the
/// white space after it. `text` must be valid UTF-8.
std::size_t next_word(std::string_view text, std::size_t begin) noexcept;

}  // namespace reelm::llm
