// The functions one instruction set provides, as plain data. Included by the files that are
// compiled with -m flags, so nothing from the standard library but fixed-width integers may come in
// here: an inline function of a std header compiled there could end up being the copy the whole
// program uses.
#pragma once

#include <stdint.h>

namespace reelm::kernels {

/// Columns of a weight panel: output features that lie side by side (see PackedMatrix::Impl).
inline constexpr int64_t kPanelCols = 64;
/// Steps of k in one block of activations.
inline constexpr int64_t kBlockK = 256;
/// Softmax is computed in powers of two.
inline constexpr float kLog2E = 1.44269504f;
/// Rows (query position x query head) and keys of one attention tile, where nothing else was
/// chosen. Other tiles have any number of rows and one of these numbers of keys, which the loops
/// are compiled for.
inline constexpr int64_t kAttentionRows = 192;
inline constexpr int64_t kAttentionKeys = 64;
inline constexpr int64_t kAttentionKeysLong = 128;
/// Rows of a tile that are computed at a time, at most: a tile may write room for one row less
/// than that behind its last.
inline constexpr int64_t kAttentionColumnsMost = 64;
struct AttentionTile {
  int64_t rows = kAttentionRows;
  int64_t keys = kAttentionKeys;
};
/// Attention with at most this many rows can take the streaming path, in chunks of this many keys
/// unless others were asked for by name. The chunk does not depend on the number of threads, so
/// neither does the result.
inline constexpr int64_t kDecodeRows = 16;
inline constexpr int64_t kDecodeKeys = 512;

/// Inputs (steps of k) that share a scale in quantised weights, and in the activations they meet.
inline constexpr int64_t kQuantGroup = 128;
/// Inputs that share a step and a base in int4 weights; and a scale in ggml's Q8_0 and Q4_0.
inline constexpr int64_t kQuantSub = 32;

/// A row of nothing larger is quantised to zeros: 127 / largest must stay finite.
inline constexpr float kSmallestQuantized = 1e-30f;

/// Element types the tables speak of. From kElementInt8 on: quantised weights in the blocks below.
enum ElementType : int {
  kElementF32 = 0,
  kElementF16 = 1,
  kElementBf16 = 2,
  kElementInt8 = 3,
  kElementInt4 = 4,
  kElementQ8_0 = 5,
  kElementQ4_0 = 6
};

/// int8 weights of 64 columns times 128 inputs: scale * (q - 128), q in 1..255. Four inputs of a
/// column lie together, as the dot products of bytes want them. 8.125 bits a weight.
struct Int8Block {
  uint16_t scale[kPanelCols];  // bf16
  uint8_t q[kQuantGroup / 4][kPanelCols][4];
};
static_assert(sizeof(Int8Block) == 8320);

/// int4 weights of 64 columns times 128 inputs: scale * (step * q + base - 128), q in 0..15, where
/// step (1..17) and base hold for 32 inputs of a column and step * 15 + base <= 255. So an int4
/// weight is an int8 weight written shorter: it widens to one exactly, whole numbers all the way,
/// and both meet the same product. Low halves of the bytes of pair p are inputs 4p .. 4p+3 of
/// the 32, high halves inputs 16+4p .. 16+4p+3. 4.625 bits a weight.
struct Int4Block {
  uint16_t scale[kPanelCols];  // bf16
  uint8_t step[kQuantGroup / kQuantSub][kPanelCols];
  uint8_t base[kQuantGroup / kQuantSub][kPanelCols];
  uint8_t q[kQuantGroup / kQuantSub][kQuantSub / 8][kPanelCols][4];
};
static_assert(sizeof(Int4Block) == 4736);

/// ggml's Q8_0 weights of 64 columns times 128 inputs, as they are stored but for their order: the
/// scale of 32 inputs of a column times q - 128, q in 0..255. 8.5 bits a weight.
struct Q8_0Block {
  uint16_t scale[kQuantGroup / kQuantSub][kPanelCols];  // f16
  uint8_t q[kQuantGroup / 4][kPanelCols][4];
};
static_assert(sizeof(Q8_0Block) == 8704);

/// ggml's Q4_0 weights likewise: scale * (q - 8), q in 0..15, in the halves of bytes that they are
/// stored in (and that Int4Block has). 4.5 bits a weight.
struct Q4_0Block {
  uint16_t scale[kQuantGroup / kQuantSub][kPanelCols];  // f16
  uint8_t q[kQuantGroup / kQuantSub][kQuantSub / 8][kPanelCols][4];
};
static_assert(sizeof(Q4_0Block) == 4608);

inline constexpr bool is_ggml_element(int type) {
  return type == kElementQ8_0 || type == kElementQ4_0;
}

/// Bytes of an element of cached keys or values: f32, bf16 or int8.
inline constexpr int64_t kv_element_bytes(int type) {
  return type == kElementF32 ? 4 : type == kElementBf16 ? 2 : 1;
}

/// Bytes of a block of a quantised type.
inline constexpr int64_t quant_block_bytes(int type) {
  return type == kElementInt8   ? static_cast<int64_t>(sizeof(Int8Block))
         : type == kElementInt4 ? static_cast<int64_t>(sizeof(Int4Block))
         : type == kElementQ8_0 ? static_cast<int64_t>(sizeof(Q8_0Block))
                                : static_cast<int64_t>(sizeof(Q4_0Block));
}

/// What stands behind the 128 quantised values of an activation row in each group.
struct QuantTail {
  float scale;
  int32_t sums[kQuantGroup / kQuantSub];  // of the quantised values, by 32
  int32_t offset;                         // -128 * all of them: what the weights' +128 adds
  int32_t unused[2];
};
static_assert(sizeof(QuantTail) == 32);
/// The same where each 32 values have a scale of their own (kPackedInt8By32, kPackedInt16By32).
struct QuantTailBy32 {
  float scale[kQuantGroup / kQuantSub];
  int32_t offset[kQuantGroup / kQuantSub];  // -128 * the 32 values' sum
};
static_assert(sizeof(QuantTailBy32) == sizeof(QuantTail));

/// 16 rows of one group of activations as the tiles of AMX take them: bytes of 64 inputs, then of
/// the other 64; scale and offset (QuantTail) of each row.
struct QuantTile {
  int8_t q[2][16][64];
  float scale[16];
  int32_t offset[16];
};
static_assert(sizeof(QuantTile) == 2176 && sizeof(QuantTile) % 64 == 0);

/// Same order as kernels::Activation.
enum ActivationType : int {
  kActNone = 0,
  kActQuickGelu = 1,
  kActGelu = 2,
  kActSilu = 3,
  kActGeluTanh = 4,
};
/// How activations are stored for a product: as they are, rounded to bf16 but kept in f32 (sets
/// without a bf16 dot product), or as bf16; the first two by rows, or (many rows) in the tiles of
/// the micro-kernel, [rows / row_tile][k][row_tile], which it reads from front to back.
/// For quantised weights int8 with a scale a group: as bytes, or as 16-bit numbers, the
/// even-numbered in front of the odd-numbered (sets without a dot product of bytes). By32: with a
/// scale for each 32 inputs, as ggml's weights have.
enum PackedA : int {
  kPackedF32 = 0,
  kPackedRounded = 1,
  kPackedBf16 = 2,
  kPackedInt8 = 3,
  kPackedInt16 = 4,
  kPackedTiles = 5,
  kPackedTilesRounded = 6,
  // 16 rows at a time in the tiles of AMX: [rows / 16][k_pad / 32][16][32] bf16, and [k_pad /
  // kQuantGroup][rows / 16] QuantTile.
  kPackedBf16Tiles = 7,
  kPackedInt8Tiles = 8,
  kPackedInt8By32 = 9,
  kPackedInt16By32 = 10
};
/// Rows that are packed together in the tiles of AMX.
inline constexpr int64_t kTileRows = 16;
/// Floats from one row of sums to the next where whole tiles of them are stored and loaded again:
/// with 64, a tile's rows lie 4 KB before those of the next one, whose loads would wait for the
/// stores (the CPU compares 12 bits of addresses first).
inline constexpr int64_t kTileSumsStride = 80;
/// The kind for a quantised type whose activations are bytes or 16-bit numbers by rows, or tiles.
inline constexpr int quant_activations(int element_type, int kind) {
  if (!is_ggml_element(element_type)) return kind;
  return kind == kPackedInt16 ? kPackedInt16By32 : kPackedInt8By32;
}
inline constexpr bool is_words(int kind) {
  return kind == kPackedInt16 || kind == kPackedInt16By32;
}
/// Bytes of one row of one group: the values, then a QuantTail or a QuantTailBy32.
inline constexpr int64_t quant_row_bytes(int kind) {
  return (is_words(kind) ? 2 : 1) * kQuantGroup + static_cast<int64_t>(sizeof(QuantTail));
}
/// Products of at most this many rows with weights of 4 bits take them apart in registers; more
/// rows widen each block to bytes once.
inline constexpr int64_t kInt4Rows = 3;

/// Rows of a norm. y = norm(x) * weight + bias; with `delta`, x += delta first.
struct NormArgs {
  float* x;  // written only when delta is set
  int64_t x_stride;
  const float* delta;
  int64_t delta_stride;
  const float* weight;
  const float* bias;
  float eps;
  float* y;
  int64_t y_stride;
  int64_t d;
};

struct RotaryArgs {
  float* x;
  int64_t row_stride;
  int64_t head_stride;
  int64_t heads;
  int64_t head_dim;
  const float* cos;  // [n, head_dim / 2]
  const float* sin;
  int64_t angle_stride;
};

/// A product of m blocked activation rows with n packed columns. Tasks are (chunk of rows, group of
/// panels).
struct GemmArgs {
  const void* a;  // [ceil(k_pad / kBlockK)][a_rows][kBlockK] of the packed type, in rows or tiles;
                  // for quantised weights [k_pad / kQuantGroup][a_rows] rows of quant_row_bytes();
                  // or as kPackedBf16Tiles and kPackedInt8Tiles say
  const void* b;  // panels: [n / 64][k_pad][64] f32, [n / 64][k_pad / 2][64][2] bf16, or
                  // [n / 64][k_pad / kQuantGroup] blocks of quant_block_bytes()
  int b_type;     // kElementF32, kElementBf16 or a quantised type
  int64_t m, n, k_pad;
  int64_t a_rows;      // m, or whole tiles when a is in tiles
  int64_t chunk_rows;  // rows of one task
  int64_t group;       // panels of one task
  bool few_rows;       // stream b as it lies, do not copy it into strips
  float* y;
  int64_t y_stride;
  const float* bias;
  int activation;
  bool accumulate;
  bool gated;  // columns of a panel: 32 of gate, 32 of up (n - col0 halved in the last); y has half
};

/// Keys or values. Strides in elements.
struct KvArgs {
  const void* data;
  int64_t row, head;
  const float* scales;  // of each row of a head, with kElementInt8 only
  int64_t scale_row, scale_head;
};

/// One sequence: rows of q against rows of k and v (see attention.h). Strides in elements.
struct AttentionArgs {
  const float* q;
  int64_t q_row, q_head;
  KvArgs k, v;
  int kv_type;  // kElementF32, kElementBf16 or kElementInt8
  float* out;
  int64_t out_row, out_head;
  int64_t n_q, n_k, heads, kv_heads, head_dim;
  float scale;
  bool causal;
  bool bf16_math;      // round q, k, v and the weights to bf16 before they are multiplied
  AttentionTile tile;  // of attention_tile()
};

struct KernelTable {
  int isa;            // the value of kernels::Isa
  int width;          // floats in a register
  int packed_a_bf16;  // PackedA used with bf16 weights
  int packed_a_int8;  // PackedA used with quantised weights (4 bits, few rows: always kPackedInt8)
  // The same where rows are not few and kernels of this library run.
  int blocked_a_bf16;
  int blocked_a_int8;
  int64_t row_tile;  // rows of the micro-kernel: chunk_rows is a multiple of it, or of kTileRows

  void (*rms_norm)(const NormArgs&, int64_t begin, int64_t end);
  void (*layer_norm)(const NormArgs&, int64_t begin, int64_t end);
  void (*rotary)(const RotaryArgs&, int64_t begin, int64_t end);
  // n elements that lie side by side; y may be gate.
  void (*silu_mul)(const float* gate, const float* up, float* y, int64_t n);
  void (*quick_gelu)(float* x, int64_t n);
  void (*gelu)(float* x, int64_t n);
  void (*gelu_tanh)(float* x, int64_t n);
  // n elements of any alignment.
  void (*f32_to_bf16)(const void* from, void* to, int64_t n);
  void (*bf16_to_f32)(const void* from, void* to, int64_t n);
  void (*f16_to_f32)(const void* from, void* to, int64_t n);

  // One row of n elements of any alignment: to[i] = round(from[i] / *scale). See quantize.h.
  void (*quantize_row)(const float* from, int64_t n, int8_t* to, float* scale);

  // Rows [begin, end) of x [m, k] into the blocked layout of GemmArgs::a; zeros up to k_pad.
  void (*pack_a)(const float* x, int64_t x_stride, int64_t m, int64_t k, int64_t k_pad, int kind,
                 void* a, int64_t begin, int64_t end);
  // n_rows stored rows of k elements become columns [col, col + n_rows) of a panel. Quantised
  // types round here; ggml's are packed elsewhere (kernels/pack_blocks.h).
  void (*pack_b)(const void* rows, int64_t row_bytes, int stored_type, int64_t n_rows, int64_t k,
                 int64_t k_pad, int packed_type, int64_t col, void* panel);
  // Tasks [begin, end) of chunk * groups + group; scratch of gemm_scratch_floats().
  void (*gemm)(const GemmArgs&, int64_t begin, int64_t end, float* scratch);
  // The same for quantised weights.
  void (*gemm_quant)(const GemmArgs&, int64_t begin, int64_t end, float* scratch);

  // Rows [begin, end) of position * group + head-in-group of one kv head, at most tile.rows.
  void (*attention_tile)(const AttentionArgs&, int64_t kv_head, int64_t begin, int64_t end,
                         float* scratch);
  // All rows (at most kDecodeRows) of a kv head against keys [begin, end): unnormalised sums.
  void (*attention_chunk)(const AttentionArgs&, int64_t kv_head, int64_t begin, int64_t end,
                          float* partial, float* scratch);
  // Joins the chunks of one kv head, in order, into out.
  void (*attention_join)(const AttentionArgs&, int64_t kv_head, int64_t chunks,
                         const float* partial);
  // One row of n scores in units of log 2, room up to a whole register, of which `limit` count:
  // 2^(score - the largest), zeros for the others, and their sum (0 when none counts).
  void (*soften)(float* scores, int64_t limit, int64_t n, float* total);
};

/// Floats of scratch (64-byte aligned) the functions above want: sums, and a block of weights that
/// are not read as they lie.
inline constexpr int64_t gemm_scratch_floats(int64_t chunk_rows, int64_t group) {
  return chunk_rows * group * kTileSumsStride + kBlockK * kPanelCols;
}
inline constexpr int64_t padded_head_dim(int64_t head_dim) { return (head_dim + 15) / 16 * 16; }
inline constexpr int64_t attention_scratch_floats(AttentionTile tile, int64_t head_dim) {
  // q, out, running maximum and sum of the rows; scores of a block; k, v, and 10 staged rows.
  return (tile.rows + kAttentionColumnsMost) * (2 * padded_head_dim(head_dim) + 2) +
         tile.keys * kAttentionColumnsMost + (2 * tile.keys + 10) * padded_head_dim(head_dim);
}
/// One chunk's partial result: [rows, head_dim] sums, then the rows' maxima and sums of weights.
inline constexpr int64_t attention_partial_floats(int64_t rows, int64_t head_dim) {
  return (rows * (head_dim + 2) + 15) / 16 * 16;
}
inline constexpr int64_t attention_chunk_scratch_floats(int64_t head_dim) {
  // q and scores of the rows; scales of the keys and of the values of a tile; steps of q and of
  // weights in 16 bits, and those themselves.
  return kDecodeRows * (padded_head_dim(head_dim) + kAttentionKeys + 2) + 2 * kAttentionKeys +
         kDecodeRows * (padded_head_dim(head_dim) + kAttentionKeys) / 2;
}

/// Each in its folder; only those the machine supports may be used.
const KernelTable& portable_table();
#if defined(__x86_64__)
const KernelTable& avx2_table();
const KernelTable& avx512_table();
const KernelTable& avx512bf16_table();
const KernelTable& amx_table();
#endif

}  // namespace reelm::kernels
