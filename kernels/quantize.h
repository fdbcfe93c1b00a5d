// Rows of floats as int8 with a scale each (the KV cache of --kv-dtype int8).
#pragma once

#include <cstdint>

#include "../core/tensor_view.h"

namespace reelm::kernels {

/// x, y [n, d], rows strided, columns dense; scales [n], dense. Symmetric: scales[i] is
/// max_j |x[i, j]| / 127 and y[i, j] = x[i, j] * (127 / max) rounded to nearest even, so that
/// |x - y * scale| <= scale / 2 up to rounding. A row whose largest magnitude is below 1e-30
/// becomes zeros with scale 0. A row with a NaN or an infinity becomes zeros with scale NaN:
/// whatever reads it is NaN, as it would be in floats. Every instruction set gives the same bits.
void quantize_rows(TensorView<const float> x, TensorView<std::int8_t> y, float* scales);

}  // namespace reelm::kernels
