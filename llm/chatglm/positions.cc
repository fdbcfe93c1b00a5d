#include "llm/chatglm/positions.h"

#include <bit>

#include "llm/mrope.h"

namespace reelm::llm::chatglm {

namespace {

/// To the nearest number of 11 bits, ties to even. Frequencies are above 1e-4, in f16's normal
/// range.
float round_to_f16(float value) {
  constexpr std::uint32_t kDropped = 13;  // of f32's 24 bits
  auto bits = std::bit_cast<std::uint32_t>(value);
  bits += (1u << (kDropped - 1)) - 1 + (bits >> kDropped & 1);
  return std::bit_cast<float>(bits & ~((1u << kDropped) - 1));
}

}  // namespace

std::vector<float> rotary_frequencies(std::int64_t head_dim) {
  std::vector<float> out = rope_inv_freq(10'000.0, head_dim / 2);
  for (float& frequency : out) frequency = round_to_f16(frequency);
  const std::size_t half = out.size();
  out.resize(2 * half);
  for (std::size_t i = 0; i < half; ++i) out[half + i] = out[i];
  return out;
}

}  // namespace reelm::llm::chatglm
