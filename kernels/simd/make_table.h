// The table of one instruction set: every template instantiated with its registers.
#pragma once

#include "../simd/attention.h"
#include "../simd/attention_decode.h"
#include "../simd/gemm.h"
#include "../simd/gemm_ggml.h"
#include "../simd/gemm_quant.h"
#include "../simd/quantise.h"
#include "../simd/rows.h"
#include "../simd/table.h"

namespace reelm::kernels {

template <class V>
inline constexpr KernelTable kTableOf = {
    .isa = V::kIsa,
    .width = V::kWidth,
    .packed_a_bf16 = V::kHasDot ? kPackedBf16 : kPackedRounded,
    .packed_a_int8 = V::kHasDot8 ? kPackedInt8 : kPackedInt16,
    .blocked_a_bf16 = V::kHasDot ? kPackedBf16 : kPackedTilesRounded,
    .blocked_a_int8 = V::kHasDot8 ? kPackedInt8 : kPackedInt16,
    .row_tile = V::kRowTile,
    .rms_norm = rms_norm_rows<V>,
    .layer_norm = layer_norm_rows<V>,
    .rotary = rotary_rows<V>,
    .silu_mul = silu_mul_row<V>,
    .quick_gelu = quick_gelu_row<V>,
    .gelu = gelu_row<V>,
    .gelu_tanh = gelu_tanh_row<V>,
    .f32_to_bf16 = f32_to_bf16_row<V>,
    .bf16_to_f32 = bf16_to_f32_row<V>,
    .f16_to_f32 = f16_to_f32_row<V>,
    .quantize_row = quantize_row<V>,
    .pack_a = pack_a_any<V>,
    .pack_b = pack_b_any<V>,
    .gemm = gemm_tasks<V>,
    .gemm_quant = gemm_quant_tasks<V>,
    .attention_tile = attention_tile<V>,
    .attention_chunk = attention_chunk<V>,
    .attention_join = attention_join<V>,
    .soften = soften_scores<V>,
};

}  // namespace reelm::kernels
