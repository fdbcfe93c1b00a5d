// What is behind each layer of a model, for comparing it with another implementation.
// Not installed.
#pragma once

#include <cstdint>

#include "core/tensor_view.h"

namespace reelm {

/// Is shown the residual stream by the models that run in its scope.
class LayerTap {
 public:
  enum class Part { kVision, kDecoder };

  virtual ~LayerTap() = default;
  /// Rows [n, hidden size of the part] behind layer number `layer` (from 0), before any norm, in
  /// the order that the model keeps them in; valid during the call. Only the last row of the
  /// decoder's last layer is computed, and only where logits are asked for.
  virtual void on_layer(Part part, std::int64_t layer, TensorView<const float> rows) = 0;

  /// Models run by this thread show their layers to `tap` while the object lives.
  class Scope {
   public:
    explicit Scope(LayerTap* tap) noexcept : previous_(current_) { current_ = tap; }
    ~Scope() { current_ = previous_; }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    LayerTap* previous_;
  };

  /// For models: shows the rows to whoever looks. Costs one thread-local load when nobody does.
  static void show(Part part, std::int64_t layer, TensorView<const float> rows) {
    if (current_ != nullptr) current_->on_layer(part, layer, rows);
  }

 private:
  static inline thread_local LayerTap* current_ = nullptr;
};

}  // namespace reelm
