// The eight tiles of AMX: the machine's, or plain C when REELM_EMULATE_AVX512 is defined, so that
// tests run the very same kernels on machines without them. A tile is 16 rows of 64 bytes; a thread
// has eight, and they hold something between a TileScope's begin and end only.
//
// Written as instructions rather than with the compiler's intrinsics: those do not tell the
// compiler that a load reads memory, so what was stored just before might come after it.
#pragma once

#include <stdint.h>

#ifndef REELM_AVX512_NAMESPACE
#error "included by vec.h, which says whose tiles these are"
#endif

namespace reelm::kernels::REELM_AVX512_NAMESPACE {

#ifndef REELM_EMULATE_AVX512

/// Palette 1, every tile of full size.
struct alignas(64) TileConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t unused[14] = {};
  uint16_t row_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
static_assert(sizeof(TileConfig) == 64);

/// Tiles may be used while it lives. The release at its end leaves the system nothing of them to
/// save when it switches threads.
class TileScope {
 public:
  TileScope() {
    const TileConfig config;
    asm volatile("ldtilecfg %0" : : "m"(config));
  }
  ~TileScope() { asm volatile("tilerelease" : : : "memory"); }
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

template <int T>
inline void tile_zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(T));
}
/// Rows lie `stride` bytes apart.
template <int T>
inline void tile_load(const void* p, int64_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(p), "r"(stride), "i"(T) : "memory");
}
template <int T>
inline void tile_store(void* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(p), "r"(stride), "i"(T) : "memory");
}
/// C [16][16] f32 += A [16][32] bf16 * B [16][16][2] bf16, which holds pairs of k of 16 columns.
template <int C, int A, int B>
inline void tile_dot_bf16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}
/// C [16][16] int32 += A [16][64] int8 * B [16][16][4] uint8, which holds fours of k of 16 columns.
template <int C, int A, int B>
inline void tile_dot_bytes() {
  asm volatile("tdpbsud %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

#else

struct Tile {
  uint8_t bytes[16][64];
};
inline thread_local Tile emulated_tiles[8];

class TileScope {
 public:
  TileScope() { __builtin_memset(emulated_tiles, 0, sizeof(emulated_tiles)); }
  ~TileScope() {
    __builtin_memset(emulated_tiles, 0xff, sizeof(emulated_tiles));
  }  // NaN to whoever uses them later
  TileScope(const TileScope&) = delete;
  TileScope& operator=(const TileScope&) = delete;
};

template <int T>
inline void tile_zero() {
  __builtin_memset(emulated_tiles[T].bytes, 0, sizeof(Tile));
}
template <int T>
inline void tile_load(const void* p, int64_t stride) {
  for (int r = 0; r < 16; ++r) {
    __builtin_memcpy(emulated_tiles[T].bytes[r], static_cast<const char*>(p) + r * stride, 64);
  }
}
template <int T>
inline void tile_store(void* p, int64_t stride) {
  for (int r = 0; r < 16; ++r) {
    __builtin_memcpy(static_cast<char*>(p) + r * stride, emulated_tiles[T].bytes[r], 64);
  }
}
/// Element i of row r of a tile taken for elements of type E.
template <class E>
inline E tile_element(const Tile& tile, int r, int i) {
  E e;
  __builtin_memcpy(&e, tile.bytes[r] + i * static_cast<int>(sizeof(E)), sizeof(E));
  return e;
}
inline float tile_bf16(const Tile& tile, int r, int i) {
  const uint32_t bits = static_cast<uint32_t>(tile_element<uint16_t>(tile, r, i)) << 16;
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
template <int C, int A, int B>
inline void tile_dot_bf16() {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) {
      float sum = tile_element<float>(emulated_tiles[C], r, c);
      for (int k = 0; k < 32; ++k) {
        sum +=
            tile_bf16(emulated_tiles[A], r, k) * tile_bf16(emulated_tiles[B], k / 2, 2 * c + k % 2);
      }
      __builtin_memcpy(emulated_tiles[C].bytes[r] + 4 * c, &sum, 4);
    }
  }
}
template <int C, int A, int B>
inline void tile_dot_bytes() {
  for (int r = 0; r < 16; ++r) {
    for (int c = 0; c < 16; ++c) {
      int32_t sum = tile_element<int32_t>(emulated_tiles[C], r, c);
      for (int k = 0; k < 64; ++k) {
        sum += tile_element<int8_t>(emulated_tiles[A], r, k) *
               tile_element<uint8_t>(emulated_tiles[B], k / 4, 4 * c + k % 4);
      }
      __builtin_memcpy(emulated_tiles[C].bytes[r] + 4 * c, &sum, 4);
    }
  }
}

#endif

/// Calls f.operator()<0>(), ... <N - 1>(): tiles are named by constants.
template <int N, int I = 0, class Fn>
inline void unrolled(Fn&& f) {
  if constexpr (I < N) {
    f.template operator()<I>();
    unrolled<N, I + 1>(f);
  }
}

/// A product whose operands lie in whole tiles: c [16 R][16 C] f32 (+)= a * b over `steps` of 32 k.
struct TileProduct {
  const char* a;   // bf16; the first tile
  int64_t a_row;   // bytes from row to row in a tile,
  int64_t a_tile;  // from one tile of rows to the next,
  int64_t a_step;  // and from one step of k to the next
  const char* b;   // pairs of k, [16 steps][columns][2] bf16
  int64_t b_row;   // bytes from one pair of k to the next
  float* c;
  int64_t c_row;  // bytes
  int64_t steps;
  bool init;  // from zero instead of c
};

/// R tiles of rows times C tiles of columns, R * C of at most 4: with fewer than 4 sums under way
/// the unit waits for itself (16 cycles a product, 52 until its sum may be added to).
template <int R, int C>
inline void tile_micro(const TileProduct& p) {
  static_assert(R * C <= 4 && (R == 1 || C <= 2));
  unrolled<R * C>([&]<int I>() {
    if (p.init) {
      tile_zero<I>();
    } else {
      tile_load<I>(reinterpret_cast<char*>(p.c) + I / C * 16 * p.c_row + I % C * 64, p.c_row);
    }
  });
  const char* a = p.a;
  const char* b = p.b;
  for (int64_t s = 0; s < p.steps; ++s) {
    if constexpr (R == 1) {
      tile_load<4>(a, p.a_row);
      unrolled<C>([&]<int J>() {
        constexpr int kB = 5 + J % 3;
        tile_load<kB>(b + J * 64, p.b_row);
        tile_dot_bf16<J, 4, kB>();
      });
    } else {
      unrolled<C>([&]<int J>() { tile_load<6 + J>(b + J * 64, p.b_row); });
      unrolled<R>([&]<int I>() {
        constexpr int kA = 4 + I % 2;
        tile_load<kA>(a + I * p.a_tile, p.a_row);
        unrolled<C>([&]<int J>() { tile_dot_bf16<I * C + J, kA, 6 + J>(); });
      });
    }
    a += p.a_step;
    b += 16 * p.b_row;
  }
  unrolled<R * C>([&]<int I>() {
    tile_store<I>(reinterpret_cast<char*>(p.c) + I / C * 16 * p.c_row + I % C * 64, p.c_row);
  });
}

/// The same for any number of tiles; columns in fours outside, so that a strip of b stays in the
/// first cache while rows go by.
inline void tile_product(TileProduct p, int64_t row_tiles, int64_t col_tiles) {
  const char* a = p.a;
  float* c = p.c;
  const auto rows = [&]<int R, int C>() {
    p.a = a;
    p.c = c;
    int64_t t = 0;
    for (; t + R <= row_tiles; t += R) {
      tile_micro<R, C>(p);
      p.a += R * p.a_tile;
      p.c += R * 16 * p.c_row / 4;
    }
    for (; t < row_tiles; ++t) {
      tile_micro<1, C>(p);
      p.a += p.a_tile;
      p.c += 16 * p.c_row / 4;
    }
    p.b += C * 64;
    c += C * 16;
    col_tiles -= C;
  };
  while (col_tiles > 0) {
    if (col_tiles >= 4) {
      rows.template operator()<1, 4>();
    } else if (col_tiles == 3) {
      rows.template operator()<1, 3>();
    } else if (col_tiles == 2) {
      rows.template operator()<2, 2>();
    } else {
      rows.template operator()<4, 1>();
    }
  }
}

}  // namespace reelm::kernels::REELM_AVX512_NAMESPACE
