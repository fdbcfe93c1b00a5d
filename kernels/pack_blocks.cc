#include "kernels/pack_blocks.h"

#include <cstring>

#include "core/error.h"
#include "kernels/simd/table.h"

namespace reelm::kernels {

namespace {

constexpr std::int64_t kSubs = kQuantGroup / kQuantSub;
constexpr std::int64_t kScaleBytes = 2;  // before the integers of a stored block

// The integers of 32 inputs behind their scale; null: zeros.
void put(const unsigned char* from, Q8_0Block& block, std::int64_t sub, std::int64_t col) {
  for (std::int64_t i = 0; i < kQuantSub / 4; ++i) {
    std::uint32_t four = 0;
    if (from != nullptr) std::memcpy(&four, from + 4 * i, 4);
    four ^= 0x80808080u;  // + 128 in every byte
    std::memcpy(block.q[sub * (kQuantSub / 4) + i][col], &four, 4);
  }
}

void put(const unsigned char* from, Q4_0Block& block, std::int64_t sub, std::int64_t col) {
  for (std::int64_t i = 0; i < kQuantSub / 8; ++i) {
    std::uint32_t four = 0x88888888u;
    if (from != nullptr) std::memcpy(&four, from + 4 * i, 4);
    std::memcpy(block.q[sub][i][col], &four, 4);
  }
}

template <typename Block>
void pack(const StoredMatrix& rows, std::int64_t k_pad, std::int64_t col, Block* panel) {
  const std::int64_t stored = rows.cols / kQuantSub;  // blocks of a row
  const std::int64_t bytes = dtype_layout(rows.dtype).block_bytes;
  const auto* from = static_cast<const unsigned char*>(rows.data);
  for (std::int64_t r = col; r < col + rows.rows; ++r) {
    for (std::int64_t i = 0; i < k_pad / kQuantSub; ++i) {
      Block& block = panel[i / kSubs];
      std::uint16_t& scale = block.scale[i % kSubs][r];
      if (i < stored) {
        std::memcpy(&scale, from, kScaleBytes);
        put(from + kScaleBytes, block, i % kSubs, r);
        from += bytes;
      } else {
        scale = 0;
        put(nullptr, block, i % kSubs, r);
      }
    }
  }
}

}  // namespace

void pack_blocks(const StoredMatrix& rows, std::int64_t k_pad, std::int64_t col,
                 void* panel) noexcept {
  REELM_CHECK(rows.cols % kQuantSub == 0 && col + rows.rows <= kPanelCols);
  if (rows.dtype == DType::kQ8_0) return pack(rows, k_pad, col, static_cast<Q8_0Block*>(panel));
  REELM_CHECK(rows.dtype == DType::kQ4_0);
  pack(rows, k_pad, col, static_cast<Q4_0Block*>(panel));
}

}  // namespace reelm::kernels
