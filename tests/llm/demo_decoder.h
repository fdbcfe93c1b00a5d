// The demo model's decoder with weights of any type.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>

#include "llm/qwen2/decoder.h"
#include "llm/qwen2_vl/config.h"
#include "tests/support/gguf_model.h"

namespace reelm::llm::qwen2 {

/// The demo model's weights, as a GGUF file would store them where the type keeps its blocks.
inline Checkpoint demo_checkpoint(kernels::ComputeType type) {
  Checkpoint stored = Checkpoint::open(REELM_DEMO_MODEL);
  if (!kernels::keeps_blocks(type)) return stored;
  const std::filesystem::path file = std::filesystem::temp_directory_path() /
                                     ("reelm_" + std::to_string(::getpid()) + "_demo.gguf");
  Checkpoint blocks = test::write_gguf_blocks(file, stored, kernels::stored_type(type));
  std::filesystem::remove(file);  // it stays mapped
  return blocks;
}

inline std::unique_ptr<Decoder> demo_decoder(kernels::ComputeType type) {
  layers::WeightLog log;
  const layers::WeightReader reader(std::make_shared<const Checkpoint>(demo_checkpoint(type)),
                                    nullptr, &log);
  auto decoder = make_decoder(qwen2_vl::load_decoder_config(REELM_DEMO_MODEL), reader, type);
  // What is not stored so becomes int8, which would be no test.
  if (kernels::keeps_blocks(type)) {
    for (const auto& packed : log.packed) EXPECT_EQ(packed.weight.type(), type) << packed.name;
  }
  return decoder;
}

}  // namespace reelm::llm::qwen2
