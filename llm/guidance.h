// Classifier-free guidance: what an answer's prompt makes likelier than another prompt does.
#pragma once

#include <span>

namespace reelm::llm {

/// logits = scale * (c - u) + u, where c and u are the log-softmax of `logits` and of
/// `unconditional`, both [vocab_size]. Scale 1 gives c, 0 gives u. Sums in f64, the rest in f32.
/// Source: UnbatchedClassifierFreeGuidanceLogitsProcessor (transformers 5.23), after "Stay on topic
/// with Classifier-Free Guidance" (arXiv 2306.17806).
void apply_guidance(std::span<float> logits, std::span<const float> unconditional, double scale);

}  // namespace reelm::llm
