// Reruns a golden of the reference implementation and compares stage by stage.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "engine.h"

namespace reelm::pipeline {

struct VerifyOptions {
  std::filesystem::path model;               ///< empty: as the golden says
  std::filesystem::path mmproj = {};         ///< as in OpenOptions
  std::vector<std::filesystem::path> media;  ///< empty: as the golden says
  ModelDtypes dtypes = {Dtype::kF32, Dtype::kAuto};
  Adapters adapters = {};  ///< as in OpenOptions
  Limits limits;
  std::optional<llm::KvType> kv_dtype;  ///< as in EngineOptions
  const CancelToken* cancel = nullptr;  ///< polled by every stage
  bool layers = false;                  ///< also what is behind every layer
};

/// One stage against the reference. Differences are NaN where they say nothing (tokens, counts).
struct VerifyRow {
  std::string stage;
  double max_abs = 0.0;       ///< largest |reelm - reference|
  double relative_l2 = 0.0;   ///< |reelm - reference|_2 / |reference|_2
  double signed_error = 0.0;  ///< sum(reelm - reference) / sum(reelm): above 0 where reelm is more
  double exact_fraction = 0.0;  ///< elements that are equal to the last bit
  std::string bound;            ///< what was asked for
  bool pass = false;            ///< false also when anything is NaN or of the wrong size
};

struct VerifyReport {
  std::vector<VerifyRow> rows;
  std::string answer;            ///< reelm's
  std::string reference_answer;  ///< the golden's
  bool pass() const noexcept;
};

/// `golden` is a file of tools/make_golden.py (format: tests/goldens/README.md). Bounds: frames
/// chosen, grids, token ids and positions exact; pixels within one level of 255 and 99.9 % exact;
/// vision rows and logits relative L2 <= 1e-4 in f32, <= 2e-2 in bf16; greedy tokens equal (in
/// bf16, up to the first token whose margin in the reference is itself within that bound). With
/// `layers`, rows "vision layer 0", ... and "decoder layer 0", ... come in the order of the model,
/// with the bounds of the vision rows and the logits: the first that fails is where the two part.
/// Throws Error: what opening the golden, the model and the media throws; kFormat for a golden that
/// lacks something.
VerifyReport verify_golden(const std::filesystem::path& golden, const VerifyOptions& options = {});

}  // namespace reelm::pipeline
