// Inner loops of resize and patchify: one set of function pointers per instruction set. Plain data
// only: this header is included by files that are compiled with -m flags.
#pragma once

#include <cstdint>

namespace reelm::preprocess::vector {

/// Arithmetic of a pass; see ResizeMode.
enum class Arithmetic : int {
  kFloat,  ///< columns and ring hold float32
  kInt16,  ///< columns and ring hold int32 in 0..255, weights fit 16 bits
  kInt32,  ///< the same, weights of 22 fraction bits
};

/// A block of `lanes` source rows -> `lanes` rows of the ring.
struct HorizontalPass {
  const std::uint8_t* source;  // row 0 of the image, [height, width*3]
  std::int64_t source_stride;  // bytes
  std::int64_t height;         // rows of the image; rows past the last repeat it
  std::int64_t width;          // pixels
  std::int64_t row;            // first row of the block
  std::int64_t n;              // output pixels
  const std::int32_t* first;   // [n]
  const std::int32_t* count;   // [n]
  const void* weights;         // [n, weight_stride], float or int32
  std::int64_t weight_stride;
  int precision;               // fraction bits of integer weights
  void* columns;               // workspace [width*3 + 8, lanes]
  void* target;                // [lanes, target_stride], 32 bits each
  std::int64_t target_stride;  // elements; at least n*3 + 3*lanes
};

/// Rows of the ring -> one row of bytes.
struct VerticalPass {
  const void* ring;  // [ring_rows, ring_stride], 32 bits each
  std::int64_t ring_rows;
  std::int64_t ring_stride;  // elements
  std::int64_t first;        // source row of the first tap
  std::int64_t count;        // taps
  const void* weights;       // [count]
  int precision;
  std::int64_t n;  // bytes to write
  std::uint8_t* target;
};

/// One temporal slice of frames -> patches; see patchify.h.
struct PatchifyRows {
  const std::uint8_t* const* frames;  // [temporal] pointers to [height, width, 3]
  const float* table;                 // [3, 256]
  float* target;                      // row 0 of the patches
  std::int64_t width;                 // pixels
  std::int64_t patch, merge, temporal;
  std::int64_t grid_w;      // patches
  std::int64_t begin, end;  // merged rows: each covers patch * merge lines
};

struct Loops {
  int lanes;  ///< rows of a block of the horizontal pass
  void (*horizontal)(Arithmetic, const HorizontalPass&);
  void (*vertical)(Arithmetic, const VerticalPass&);
  void (*patchify)(const PatchifyRows&);
};

extern const Loops kPortableLoops;
extern const Loops kAvx2Loops;
extern const Loops kAvx512Loops;

}  // namespace reelm::preprocess::vector
