// The rungs of the ladder over one model: the benchmark's own forms, then what ships.
#pragma once

#include <cstdint>
#include <memory>

#include "bench/ladder/switches.h"
#include "llm/qwen2/weights.h"
#include "pipeline/model.h"
#include "pipeline/synthetic.h"
#include "vision/qwen2_vl/config.h"
#include "vision/qwen2_vl/weights.h"

namespace reelm::bench {

inline constexpr int kRungs = 10;
inline constexpr int kShippedRung = 8;    ///< the pipeline's encoder and decoder, no copy of them
inline constexpr int kQuantisedRung = 9;  ///< the same of the model opened with --dtype int8

/// What the rung adds to the one before, in a few words. 0 <= rung < kRungs.
const char* rung_name(int rung);
/// The first `rung` switches; of rungs below kShippedRung.
Switches rung_switches(int rung);

/// What a rung's own forms did; zeros of those that ship.
struct RungCounters {
  Counters vision;
  Counters decoder;
};

/// A model as one rung runs it, with a sequence of its own. Inputs fit: nothing is checked.
class RungModel {
 public:
  virtual ~RungModel() = default;
  /// All slices of the media: patches.pixels [t*h*w, patch_dim] to out [t*h*w / merge^2,
  /// hidden_size].
  virtual void encode(const PatchBatch& patches, TensorView<float> out) = 0;
  /// A prompt from the beginning; logits [vocab_size] of its last position.
  virtual void prefill(const llm::PromptInput& input, TensorView<float> logits) = 0;
  virtual void step(llm::TokenId token, std::int64_t position, TensorView<float> logits) = 0;
  virtual RungCounters counters() const { return {}; }
};

/// Throws Error{kInvalidArgument} for types that are quantised already.
void check_ladder_dtypes(const pipeline::ModelDtypes& dtypes);

/// The weights that the rungs share, each packed once; and once more in int8.
class LadderModel {
 public:
  /// `sizes` are the model's. Throws Error{kInvalidArgument} as check_ladder_dtypes, when the model
  /// is not of the family qwen2_vl, whose tower the lower rungs have, and when it was converted, so
  /// that there is nothing to quantise.
  LadderModel(pipeline::Model model, const pipeline::SyntheticSizes& sizes);

  /// What was opened, with the encoder and decoder of kShippedRung.
  const pipeline::Model& model() const { return model_; }
  const pipeline::SyntheticSizes& sizes() const { return sizes_; }

  /// Outlived by the model; one at a time is used. `capacity` positions.
  std::unique_ptr<RungModel> rung(int number, std::int64_t capacity);

 private:
  pipeline::Model model_;
  const pipeline::SyntheticSizes sizes_;
  const vision::qwen2_vl::VisionConfig vision_config_;  // of sizes_
  vision::qwen2_vl::VisionWeights vision_weights_;
  llm::qwen2::DecoderWeights decoder_weights_;
  std::unique_ptr<vision::VisionEncoder> quantised_vision_;
  std::unique_ptr<llm::Decoder> quantised_decoder_;
};

}  // namespace reelm::bench
