#include "preprocess/patchify.h"

#include <cmath>
#include <vector>

#include "core/parallel.h"
#include "core/throw.h"
#include "preprocess/vector_loops.h"

namespace reelm::preprocess {

NormalizeTable make_normalize_table(const PreprocessorConfig& config) {
  if (!(config.rescale_factor > 0)) {
    throw_error(ErrorCode::kInvalidArgument, "rescale_factor is {}, expected more than 0",
                config.rescale_factor);
  }
  // TorchvisionBackend._fuse_mean_std_and_rescale_factor: float32 tensors times a Python number
  // that torch casts to float32; normalize then subtracts and divides in float32.
  const auto scale = static_cast<float>(1.0 / config.rescale_factor);
  NormalizeTable table;
  for (std::size_t c = 0; c < 3; ++c) {
    const float mean = static_cast<float>(config.image_mean[c]) * scale;
    const float std = static_cast<float>(config.image_std[c]) * scale;
    if (!(std > 0)) {
      throw_error(ErrorCode::kInvalidArgument, "image_std[{}] is {}, expected more than 0", c,
                  config.image_std[c]);
    }
    for (std::size_t v = 0; v < 256; ++v) table[c][v] = (static_cast<float>(v) - mean) / std;
    if (!std::isfinite(table[c].front()) || !std::isfinite(table[c].back())) {
      throw_error(ErrorCode::kInvalidArgument,
                  "image_mean[{}] {} and image_std[{}] {} make pixels infinite", c,
                  config.image_mean[c], c, config.image_std[c]);
    }
  }
  return table;
}

void patchify(TensorView<const std::uint8_t> frames, const NormalizeTable& table,
              const PreprocessorConfig& config, TensorView<float> patches) {
  patchify(frames, table, config, patches, active_vector_isa());
}

void patchify(TensorView<const std::uint8_t> frames, const NormalizeTable& table,
              const PreprocessorConfig& config, TensorView<float> patches, VectorIsa isa) {
  const std::int64_t height = frames.size(1);
  const std::int64_t width = frames.size(2);
  REELM_CHECK(frames.rank() == 4 && frames.size(0) == config.temporal_patch_size &&
              frames.size(3) == 3 && height % config.factor() == 0 && width % config.factor() == 0);
  const std::int64_t grid_h = height / config.patch_size;
  const std::int64_t grid_w = width / config.patch_size;
  REELM_CHECK(patches.rank() == 2 && patches.size(0) == grid_h * grid_w &&
              patches.size(1) ==
                  3 * config.temporal_patch_size * config.patch_size * config.patch_size);
  std::vector<const std::uint8_t*> rows;
  for (std::int64_t t = 0; t < frames.size(0); ++t) rows.push_back(frames.row(t));
  const vector::Loops& loops = loops_of(isa);
  parallel_for(grid_h / config.merge_size, 1, [&](std::int64_t begin, std::int64_t end) {
    vector::PatchifyRows p{};
    p.frames = rows.data();
    p.table = table[0].data();
    p.target = patches.data();
    p.width = width;
    p.patch = config.patch_size;
    p.merge = config.merge_size;
    p.temporal = config.temporal_patch_size;
    p.grid_w = grid_w;
    p.begin = begin;
    p.end = end;
    loops.patchify(p);
  });
}

}  // namespace reelm::preprocess
