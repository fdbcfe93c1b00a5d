// The filter of the three resamplers as tables of weights. Not installed.
#pragma once

#include <cstdint>
#include <vector>

#include "preprocess/resize.h"

namespace reelm::preprocess {

/// Weights for one direction. Output i is the sum over k < count[i] of input[first[i] + k] *
/// weight[i * stride + k].
struct FilterBank {
  std::int64_t n = 0;               ///< outputs
  std::int64_t stride = 0;          ///< most taps an output has, rounded up to an even number
  std::vector<std::int32_t> first;  ///< [n]
  std::vector<std::int32_t> count;  ///< [n], at least 1
  std::vector<float> f32;           ///< [n, stride]; kTorchFloat only
  std::vector<std::int32_t> i32;    ///< [n, stride]; fixed point, the integer modes
  int precision = 0;                ///< fraction bits of i32
};

/// Weights to shrink or stretch `in` samples to `out`, as the mode's reference computes them
/// (torch 2.15 UpSampleKernel.cpp; Pillow 13 Resample.c).
FilterBank make_filter_bank(std::int64_t in, std::int64_t out, ResizeMode mode);

}  // namespace reelm::preprocess
