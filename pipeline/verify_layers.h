// What is behind each layer, against a golden that was made with --layers. Not installed.
#pragma once

#include <cstdint>
#include <vector>

#include "core/layer_tap.h"
#include "pipeline/golden.h"
#include "pipeline/verify.h"

namespace reelm::pipeline {

/// Keeps of one request what the golden keeps of it: every k-th row of each layer.
class LayerRecorder final : public LayerTap {
 public:
  /// `golden` outlives the recorder. Throws Error{kFormat} when it was made without --layers.
  explicit LayerRecorder(const Golden& golden);

  void on_layer(Part part, std::int64_t layer, TensorView<const float> rows) override;

  /// Appends a row for each block of the vision tower, or layer of the decoder.
  void compare_vision(double l2_bound, std::vector<VerifyRow>& report) const;
  void compare_decoder(double l2_bound, std::vector<VerifyRow>& report) const;

 private:
  struct Layer {
    std::int64_t rows_seen = 0;
    std::vector<float> kept;
  };
  struct Stack {
    std::int64_t stride = 1;
    std::vector<Layer> layers;
  };
  /// The layers of `stack` against the tensor, [layers, rows, width].
  void compare_stack(const char* name, const Stack& stack, const char* tensor, double l2_bound,
                     std::vector<VerifyRow>& report) const;

  const Golden& golden_;
  std::int64_t prompt_tokens_;
  Stack vision_, decoder_;   // the decoder's without its last layer
  std::vector<float> last_;  // [hidden_size], of the decoder's last layer at the end of the prompt
};

}  // namespace reelm::pipeline
