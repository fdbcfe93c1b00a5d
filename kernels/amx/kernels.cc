// The kernels of simd/ for AVX-512 with AVX512_BF16, and those of AMX in the place of some.
#include "../simd/make_table.h"
#include "gemm.h"
#include "gemm_quant.h"
#include "vec.h"

namespace reelm::kernels {

namespace REELM_AVX512_NAMESPACE {

constexpr KernelTable tile_table() {
  KernelTable table = kTableOf<TileVec>;
  table.blocked_a_bf16 = kPackedBf16Tiles;
  table.blocked_a_int8 = kPackedInt8Tiles;
  table.pack_a = pack_a_tile_rows<TileVec>;
  table.gemm = gemm_tile_tasks<TileVec>;
  table.gemm_quant = gemm_quant_tile_tasks<TileVec>;
  return table;
}
constexpr KernelTable kTileTable = tile_table();

}  // namespace REELM_AVX512_NAMESPACE

#ifdef REELM_EMULATE_AVX512
const KernelTable& amx_emulated_table() { return amx_emulated::kTileTable; }
#else
const KernelTable& amx_table() { return amx::kTileTable; }
#endif

}  // namespace reelm::kernels
