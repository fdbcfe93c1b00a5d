// LoRA adapters: low-rank updates of weights, merged when the weights are read.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "../core/aligned_buffer.h"
#include "../core/limits.h"
#include "../core/safetensors.h"
#include "../kernels/matmul.h"

namespace reelm::layers {

/// One adapter as PEFT saves it (huggingface/peft, `LoraConfig`): adapter_config.json, and for each
/// weight W [out, in] that it updates lora_A [r, in] and lora_B [out, r] in
/// adapter_model.safetensors. The updated weight is W + scale * lora_alpha / r * lora_B * lora_A
/// (lora_alpha / sqrt(r) with use_rslora).
class LoraAdapter {
 public:
  /// `scale` multiplies the whole update. Throws Error naming file, key or tensor: kNotFound,
  /// kFormat, kUnsupported for what is more than this sum (DoRA, biases, whole modules, layers that
  /// are used twice), kLimit, kInvalidArgument for a scale that is not finite.
  static LoraAdapter open(const std::filesystem::path& directory, double scale,
                          const Limits& limits = {});

  /// Whether it updates the checkpoint's tensor `weight_name`. Where versions of transformers write
  /// the same module in two ways ("model.language_model.layers", "model.layers"), either will do.
  bool updates(const std::string& weight_name) const;

  /// Throws Error{kUnsupported} if it updates that tensor, which is used as it is stored.
  void check_leaves(const std::string& weight_name) const;

  /// Adds the update of that tensor to `weights` f32 [out_features, in_features]. Throws Error as
  /// open() when it does not fit.
  void add_to(float* weights, const std::string& weight_name, std::int64_t out_features,
              std::int64_t in_features) const;

  /// Throws Error{kFormat} unless the update of each tensor was added once or more: what is left
  /// would be ignored.
  void check_all_used() const;

 private:
  struct Update {
    std::string module;  ///< as the file names it
    const StoredTensor* a = nullptr;
    const StoredTensor* b = nullptr;
    float scale = 1.0f;
    mutable bool used = false;
  };

  LoraAdapter() = default;
  std::string describe() const { return file_->path().string(); }

  std::shared_ptr<const SafetensorsFile> file_;
  std::map<std::string, Update> updates_;  // by what all versions call the weight
};

/// The tensor `stored` as f32 with what the adapters add to it, one after the other; empty when
/// none of them updates it.
AlignedBuffer<float> merge_adapters(const std::vector<LoraAdapter>& adapters,
                                    const std::string& weight_name,
                                    const kernels::StoredMatrix& stored);

}  // namespace reelm::layers
