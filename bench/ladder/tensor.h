// Results of operations as the ladder's lower rungs keep them: each in memory of its own.
#pragma once

#include <cstdint>

#include "bench/ladder/switches.h"
#include "core/aligned_buffer.h"
#include "core/tensor_view.h"
#include "layers/linear.h"

namespace reelm::bench {

/// [rows, width] floats, dense, not initialised.
class Tensor {
 public:
  Tensor() = default;
  Tensor(std::int64_t rows, std::int64_t width, Counters& counters)
      : storage_(static_cast<std::size_t>(rows * width)), rows_(rows), width_(width) {
    ++counters.allocations;
  }

  bool empty() const { return storage_.size() == 0; }
  std::int64_t rows() const { return rows_; }
  std::int64_t width() const { return width_; }
  float* row(std::int64_t i) { return storage_.data() + i * width_; }
  const float* row(std::int64_t i) const { return storage_.data() + i * width_; }
  TensorView<float> view() { return {storage_.data(), {rows_, width_}}; }
  TensorView<const float> view() const { return {storage_.data(), {rows_, width_}}; }

 private:
  AlignedBuffer<float> storage_;
  std::int64_t rows_ = 0;
  std::int64_t width_ = 0;
};

/// activation(x * weight^T + bias).
Tensor linear(const layers::Linear& layer, TensorView<const float> x, Counters& counters,
              kernels::Activation activation = kernels::Activation::kNone);

/// a + b of one shape, in a pass of its own.
Tensor add(const Tensor& a, const Tensor& b, Counters& counters);

/// The last row of x alone.
Tensor last_row(const Tensor& x, Counters& counters);

}  // namespace reelm::bench
