#include "vision/rotary_table.h"

#include <cmath>

#include "core/parallel.h"

namespace reelm::vision {

RotaryTable::RotaryTable(std::int64_t h, std::int64_t w, std::int64_t merge, std::int64_t head_dim,
                         double theta, std::span<const std::int64_t> order)
    : h_(h),
      w_(w),
      half_(head_dim / 2),
      cos_(static_cast<std::size_t>(h * w * half_)),
      sin_(static_cast<std::size_t>(h * w * half_)) {
  // In f32 throughout, as the reference: its rounding of the angle is larger than that of cos
  // itself.
  const std::int64_t quarter = half_ / 2;
  AlignedBuffer<float> inv_freq(static_cast<std::size_t>(quarter));
  for (std::int64_t i = 0; i < quarter; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(half_);
    inv_freq[static_cast<std::size_t>(i)] = 1.0f / std::pow(static_cast<float>(theta), exponent);
  }
  const std::int64_t blocks_per_row = w / merge;
  const std::int64_t merge_area = merge * merge;
  parallel_for(h * w, 256, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::int64_t block = i / merge_area;
      if (!order.empty()) block = order[static_cast<std::size_t>(block)];
      const std::int64_t inside = i % merge_area;
      const std::int64_t row = block / blocks_per_row * merge + inside / merge;
      const std::int64_t col = block % blocks_per_row * merge + inside % merge;
      float* c = cos_.data() + i * half_;
      float* s = sin_.data() + i * half_;
      for (std::int64_t j = 0; j < half_; ++j) {
        const float position = static_cast<float>(j < quarter ? row : col);
        const float angle = position * inv_freq[static_cast<std::size_t>(j % quarter)];
        c[j] = std::cos(angle);
        s[j] = std::sin(angle);
      }
    }
  });
}

}  // namespace reelm::vision
