// Which LoRA adapters a model is opened with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace reelm::pipeline {

/// A directory that PEFT saved (layers/lora.h), merged into the weights as they are read.
struct Adapter {
  std::filesystem::path directory;
  double scale = 1.0;  ///< of the whole update

  /// "DIR" or "DIR:SCALE"; a directory whose name has a colon is taken whole where it is there.
  /// Throws Error{kInvalidArgument}.
  static Adapter parse(const std::string& text);
};

using Adapters = std::vector<Adapter>;

}  // namespace reelm::pipeline
