// Where the tokens of the first ChatGLM are: in two dimensions. Not installed.
#pragma once

#include <cstdint>
#include <vector>

#include "core/tensor_view.h"

namespace reelm::llm::chatglm {

/// A token's position, and its place in what is generated.
struct Position {
  std::int64_t position = 0;
  std::int64_t block = 0;
};

/// Of token number `place` behind a context of `context` tokens. Source: get_position_ids of
/// modeling_chatglm.py, where [gMASK] is the context's last token.
constexpr Position position_of(std::int64_t place, std::int64_t context) noexcept {
  if (place < context) return {place, 0};
  return {context > 0 ? context - 1 : 0, place - context + 1};
}

/// Frequencies of a half of a head, twice: [head_dim / 2]. Rounded to f16 as RotaryEmbedding of
/// modeling_chatglm.py does, whatever the model's type; the angles are then in f32.
std::vector<float> rotary_frequencies(std::int64_t head_dim);

}  // namespace reelm::llm::chatglm
