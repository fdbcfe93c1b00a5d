#include "pipeline/verify_layers.h"

#include <span>
#include <string>

#include "core/throw.h"
#include "pipeline/verify_row.h"

namespace reelm::pipeline {

LayerRecorder::LayerRecorder(const Golden& golden)
    : golden_(golden), prompt_tokens_(golden.rows("input_ids")) {
  if (!golden.has("decoder_last_layer")) {
    throw_error(ErrorCode::kFormat,
                "{}: tensor 'decoder_last_layer' is missing: a golden for --layers is made with "
                "tools/make_golden.py --layers",
                golden.path().string());
  }
  const auto prepare = [&](Stack& stack, const char* tensor) {
    if (!golden.has(tensor)) return;
    stack.stride = golden.row_stride(tensor);
    stack.layers.resize(static_cast<std::size_t>(golden.rows(tensor)));
  };
  prepare(vision_, "vision_layers");
  prepare(decoder_, "decoder_layers");
}

void LayerRecorder::on_layer(Part part, std::int64_t layer, TensorView<const float> rows) {
  Stack& stack = part == Part::kVision ? vision_ : decoder_;
  if (static_cast<std::size_t>(layer) >= stack.layers.size()) {
    // The first time is the end of the prompt, the others are steps.
    if (part == Part::kDecoder && last_.empty())
      last_.assign(rows.row(0), rows.row(0) + rows.size(1));
    return;
  }
  Layer& to = stack.layers[static_cast<std::size_t>(layer)];
  for (std::int64_t i = 0; i < rows.size(0); ++i, ++to.rows_seen) {
    if (part == Part::kDecoder && to.rows_seen >= prompt_tokens_) return;  // a step
    if (to.rows_seen % stack.stride != 0) continue;
    to.kept.insert(to.kept.end(), rows.row(i), rows.row(i) + rows.size(1));
  }
}

void LayerRecorder::compare_stack(const char* name, const Stack& stack, const char* tensor,
                                  double l2_bound, std::vector<VerifyRow>& report) const {
  if (stack.layers.empty()) return;
  const std::vector<float> reference = golden_.floats(tensor);
  const std::size_t each = reference.size() / stack.layers.size();
  for (std::size_t i = 0; i < stack.layers.size(); ++i) {
    report.push_back(
        with_l2_bound(compare(fmt::format("{} layer {}", name, i), stack.layers[i].kept,
                              std::span(reference).subspan(i * each, each)),
                      l2_bound));
  }
}

void LayerRecorder::compare_vision(double l2_bound, std::vector<VerifyRow>& report) const {
  compare_stack("vision", vision_, "vision_layers", l2_bound, report);
}

void LayerRecorder::compare_decoder(double l2_bound, std::vector<VerifyRow>& report) const {
  compare_stack("decoder", decoder_, "decoder_layers", l2_bound, report);
  report.push_back(with_l2_bound(compare(fmt::format("decoder layer {}", decoder_.layers.size()),
                                         last_, golden_.floats("decoder_last_layer")),
                                 l2_bound));
}

}  // namespace reelm::pipeline
