// The clip and the question that every rung of the ladder gets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "bench/workload.h"
#include "core/aligned_buffer.h"
#include "core/limits.h"
#include "pipeline/model.h"
#include "pipeline/synthetic.h"

namespace reelm::bench {

/// What --ladder was asked for. `work.kv_dtype` is not looked at.
struct LadderOptions {
  Workload work;
  std::optional<std::string> question;  ///< else made-up text of work.prompt_tokens
  int first_rung = 0;
};

/// A clip that came with a model and the first question about it.
struct Sample {
  std::string media;
  std::string question;
};

/// Of the directory's sample.json (models/demo), nothing where there is none. Throws Error{kFormat}
/// naming what is wrong in it.
std::optional<Sample> find_sample(const std::filesystem::path& model_dir, const Limits& limits);

/// Media read and cut into patches, the question in tokens.
struct LadderWork {
  std::string media;     ///< empty: made-up patches
  std::string question;  ///< empty: made-up text
  GridThw grid{};
  std::int64_t vision_tokens = 0;
  std::int64_t new_tokens = 0;
  AlignedBuffer<float> pixels;  ///< [t*h*w, patch_dim]
  Prompt prompt;

  std::int64_t prompt_tokens() const { return std::ssize(prompt.ids); }
  PatchBatch patches(std::int64_t patch_dim) const {
    return {{pixels.data(), {grid[0] * grid[1] * grid[2], patch_dim}}, grid};
  }
};

/// Throws Error as reading media does, {kInvalidArgument} (sizes that do not fit the model),
/// {kLimit} when the matrices of the plain forms, int8 weights and the rest are over
/// limits.request_bytes or the memory available.
LadderWork make_ladder_work(const pipeline::Model& model, const pipeline::SyntheticSizes& sizes,
                            const LadderOptions& options, const Limits& limits);

}  // namespace reelm::bench
