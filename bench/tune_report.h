// What the tuner sees at a model's shapes: every candidate's time, the choice, and why.
#pragma once

#include <string>
#include <vector>

#include "bench/workload.h"
#include "kernels/tuner.h"

namespace reelm::bench {

/// One operation at one shape.
struct TuneRow {
  std::string operation;  ///< "vit.attention", "llm.mlp.down"
  std::string shape;      ///< "1196 x 16 heads x 80"
  std::string dtype;      ///< of keys and values, or of weights
  int threads = 0;
  /// Without timings where no choice is ours (oneDNN has the product).
  kernels::TuneEntry entry;
};

/// Times all candidates, those that change bits too, on made-up operands of the shapes that the
/// model meets in the workload: a ViT slice, a piece of a prompt, decode steps at several contexts,
/// and the products of a layer. The kernels' tuner, if there is one that measures, gets the
/// choices. Throws Error{kInvalidArgument} for a grid or prompt that has no rows.
std::vector<TuneRow> tune_report(const pipeline::Model& model,
                                 const pipeline::SyntheticSizes& sizes, const Workload& workload);

std::string to_table(const std::vector<TuneRow>& rows);
std::string to_json(const std::vector<TuneRow>& rows);

}  // namespace reelm::bench
