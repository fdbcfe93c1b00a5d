// The decoder of the first ChatGLM on the CPU.
#pragma once

#include <memory>

#include "../../layers/weight_reader.h"
#include "../decoder.h"
#include "config.h"

namespace reelm::llm::chatglm {

/// What is before <sop> is the context: its tokens see one another, and so does every later token
/// see them; what comes from <sop> on is causal. A prompt without <sop> is context but for its last
/// token. So the first call of prefill for an empty cache takes all of a prompt
/// (prefill_rows() is max_sequence_length; PromptInput::prompt_length may not be more), and a
/// conversation goes on in an empty cache only. What is added to a cache that is not empty is
/// answer: prefill does what steps would.
///
/// Positions follow from a token's place in its cache alone: (i, 0) within the context, (the
/// context's last, 1, 2, ...) behind it. Those of PromptInput and BatchRow say no more than the
/// place and are not read. In the context a [gMASK] stands at its end and nowhere else: the
/// reference would give another place to all that is generated; prefill throws
/// Error{kInvalidArgument}. Source: modeling_chatglm.py of ChatGLM-6B (get_masks,
/// get_position_ids).
///
/// Loads and packs the weights; rows of the embedding table are read from the checkpoint's mapping,
/// which the decoder keeps alive. Throws Error as load_decoder_weights.
std::unique_ptr<Decoder> make_decoder(const DecoderConfig& config,
                                      const layers::WeightReader& reader,
                                      kernels::ComputeType type);

}  // namespace reelm::llm::chatglm
