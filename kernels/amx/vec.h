// The registers of AVX-512 with AVX512_BF16, beside the tiles of AMX.
#pragma once

#ifdef REELM_EMULATE_AVX512
#define REELM_AVX512_NAMESPACE amx_emulated
#else
#define REELM_AVX512_NAMESPACE amx
#endif

#include "../avx512bf16/vec.h"
#include "tiles.h"

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

struct TileVec : DotVec {
  static constexpr int kIsa = 4;
  // What simd/attention.h multiplies with where it finds them, in blocks of so many columns.
  static constexpr int64_t kTileColumns = 32;
  using Tiles = TileScope;
  using Product = TileProduct;
  static S sums(I v) { return sums_of(v); }
  static void multiply(const TileProduct& p, int64_t row_tiles, int64_t col_tiles) {
    tile_product(p, row_tiles, col_tiles);
  }
};

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
