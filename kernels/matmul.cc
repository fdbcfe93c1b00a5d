#include "kernels/matmul.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "core/checked.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "kernels/dequantize.h"
#include "kernels/dispatch.h"
#include "kernels/matmul_dnnl.h"
#include "kernels/matmul_impl.h"
#include "kernels/pack_blocks.h"

namespace reelm::kernels {

namespace {

thread_local MatmulPath t_last_path = MatmulPath::kNothing;

// What a trial multiplies unless it must be more to be one (about 4 ms): these rows at most, as
// many columns at least. Weights that are streamed come from memory, as they do in a model.
constexpr std::int64_t kTrialProducts = std::int64_t{1} << 27;
constexpr std::int64_t kTrialRows = 352, kTrialColumns = 512;

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

int packed_element(ComputeType type) {
  switch (type) {
    case ComputeType::kF32:
      return kElementF32;
    case ComputeType::kBF16:
      return kElementBf16;
    case ComputeType::kInt8:
      return kElementInt8;
    case ComputeType::kInt4:
      return kElementInt4;
    case ComputeType::kQ8_0:
      return kElementQ8_0;
    case ComputeType::kQ4_0:
      return kElementQ4_0;
  }
  return kElementF32;
}

/// k of packed weights: what kernels read without looking for the end.
std::int64_t padded_k(std::int64_t k, ComputeType type) {
  const std::int64_t to = type == ComputeType::kF32    ? 16
                          : type == ComputeType::kBF16 ? 32
                                                       : kQuantGroup;
  return std::max(round_up(k, to), to);
}

/// Words of a panel, k_pad deep.
std::int64_t panel_words(std::int64_t k_pad, ComputeType type) {
  switch (type) {
    case ComputeType::kF32:
      return k_pad * kPanelCols;
    case ComputeType::kBF16:
      return k_pad / 2 * kPanelCols;
    default:
      return k_pad / kQuantGroup * (quant_block_bytes(packed_element(type)) / 4);
  }
}

int element_type(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return kElementF32;
    case DType::kF16:
      return kElementF16;
    case DType::kBF16:
      return kElementBf16;
    default:
      break;
  }
  REELM_CHECK(!"weights are F32, F16 or BF16");
  return kElementF32;
}

// Rows of a weight as kernels read them: quantised ones as floats, in this thread's scratch.
StoredMatrix rows_of(const StoredMatrix& part, std::int64_t begin, std::int64_t n) {
  const void* data =
      static_cast<const char*>(part.data) + dtype_bytes(part.dtype, begin * part.cols);
  if (!is_quantized(part.dtype)) return {data, part.dtype, n, part.cols};
  float* floats = scratch_floats(Scratch::kActivations, static_cast<std::size_t>(n * part.cols));
  dequantize(part.dtype, data, floats, n * part.cols);
  return {floats, DType::kF32, n, part.cols};
}

// Packs the columns of panel `index`: rows of the parts, stacked.
void pack_panel(const KernelTable& table, std::span<const StoredMatrix> parts,
                const PackedMatrix::Impl& impl, std::int64_t index, std::uint32_t* panel) {
  const std::int64_t row0 = index * kPanelCols;
  const std::int64_t row1 = std::min(impl.n, row0 + kPanelCols);
  std::int64_t first = 0;  // first stacked row of the part
  for (const StoredMatrix& part : parts) {
    const std::int64_t begin = std::max(row0, first), end = std::min(row1, first + part.rows);
    if (begin < end && keeps_blocks(impl.type)) {
      const std::int64_t offset = dtype_bytes(part.dtype, (begin - first) * part.cols);
      const StoredMatrix rows = {static_cast<const char*>(part.data) + offset, part.dtype,
                                 end - begin, part.cols};
      pack_blocks(rows, impl.k_pad, begin - row0, panel);
    } else if (begin < end) {
      const StoredMatrix rows = rows_of(part, begin - first, end - begin);
      table.pack_b(rows.data, dtype_bytes(rows.dtype, rows.cols), element_type(rows.dtype),
                   rows.rows, impl.k, impl.k_pad, packed_element(impl.type), begin - row0, panel);
    }
    first += part.rows;
  }
}

std::shared_ptr<const PackedMatrix::Impl> pack(std::span<const StoredMatrix> parts,
                                               ComputeType type) {
  auto impl = std::make_shared<PackedMatrix::Impl>();
  impl->type = type;
  impl->k = parts.empty() ? 0 : parts[0].cols;
  for (const StoredMatrix& part : parts) {
    REELM_CHECK(part.cols == impl->k && part.rows >= 0 && part.cols >= 0);
    REELM_CHECK(!keeps_blocks(type) || part.dtype == stored_type(type));
    impl->n += part.rows;
  }
  impl->k_pad = padded_k(impl->k, type);
  const std::int64_t panels = round_up(impl->n, kPanelCols) / kPanelCols;
  const std::int64_t words = panel_words(impl->k_pad, type);
  TimelineSpan span("pack", SpanKind::kKernel);
  impl->storage = AlignedBuffer<std::uint32_t>(static_cast<std::size_t>(panels * words));
  impl->words = {impl->storage.data(), impl->storage.size()};
  const KernelTable& table = use_table();
  parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint32_t* panel = impl->storage.data() + i * words;
      if ((i + 1) * kPanelCols > impl->n) {
        std::memset(panel, 0, static_cast<std::size_t>(words) * sizeof(*panel));
      }
      pack_panel(table, parts, *impl, i, panel);
    }
  });
  if (span.recorded()) {
    const std::int64_t stored = parts.empty() ? 0 : dtype_bytes(parts[0].dtype, impl->n * impl->k);
    span.tell({.shape = {{{"n", impl->n}, {"k", impl->k}}},
               .dtype = compute_type_name(type),
               .isa = isa_name(static_cast<Isa>(table.isa)).data(),
               .bytes = stored + panels * words * 4});
  }
  return impl;
}

struct Tasks {
  std::int64_t chunk_rows;
  std::int64_t group;
  std::int64_t chunks;  // of rows
  std::int64_t groups;  // of panels
};

/// The candidate's tasks, or smaller ones when threads would have too few.
Tasks plan_tasks(const MatmulCandidate& candidate, std::int64_t m, std::int64_t panels,
                 std::int64_t row_tile) {
  if (candidate.few) return {m, 1, 1, panels};
  const std::int64_t wanted = 4 * static_cast<std::int64_t>(num_threads());
  std::int64_t chunks = (m + candidate.chunk_rows - 1) / candidate.chunk_rows;
  const std::int64_t group = std::clamp<std::int64_t>(chunks * panels / wanted, 1, candidate.group);
  if (chunks * panels < wanted) {
    chunks = std::max(chunks, std::min((wanted + panels - 1) / panels, m / 48));
  }
  const std::int64_t chunk_rows = round_up((m + chunks - 1) / chunks, row_tile);
  return {chunk_rows, group, (m + chunk_rows - 1) / chunk_rows, (panels + group - 1) / group};
}

/// y = silu(gate) * up of sums [m, 2 * y.size(1)] in the order of gated_parts().
void multiply_gates(const KernelTable& table, const float* sums, TensorView<float> y) {
  const std::int64_t d = y.size(1);
  parallel_for(y.size(0), 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float* from = sums + row * 2 * d;
      for (std::int64_t j = 0; j < d; j += kGatedRows) {
        const std::int64_t n = std::min(kGatedRows, d - j);
        table.silu_mul(from + 2 * j, from + 2 * j + n, y.row(row) + j, n);
      }
    }
  });
}

// oneDNN's product, when it has one for this machine and shape.
bool run_dnnl(const KernelTable& table, TensorView<const float> x, const PackedMatrix::Impl& w,
              TensorView<float> y, const Epilogue& epilogue) {
  const bool bf16 = w.type == ComputeType::kBF16;
  const Isa isa = static_cast<Isa>(table.isa);
  const std::int64_t m = x.size(0);
  // With AMX both multiply in its tiles. In turns on one shared machine with two such cores,
  // products of the 2B model reached 480 to 610 GFLOP/s in the median, oneDNN 2.6's 340 to 510.
  if (bf16 && isa >= Isa::kAmx) return false;
  if (is_quantized(w.type) || m < kDnnlRows || isa < (bf16 ? Isa::kAvx512Bf16 : Isa::kAvx512) ||
      !table_is_native(table) || (m > 1 && y.stride(0) != y.size(1)) || omp_in_parallel() != 0) {
    return false;
  }
  DnnlProduct product = {.bf16 = bf16,
                         .m = m,
                         .n = w.n,
                         .k_pad = w.k_pad,
                         .a = x.data(),
                         .b = w.words.data(),
                         .y = y.data(),
                         .epilogue = epilogue};
  if (epilogue.gated) {  // oneDNN writes both halves; the product of them follows
    product.y = scratch_floats(Scratch::kGated, static_cast<std::size_t>(m * w.n));
    product.epilogue = {.bias = epilogue.bias};
  }
  if (!dnnl_has_kernel(product)) return false;
  if (bf16 || w.k != w.k_pad || x.stride(0) != w.k) {
    const std::int64_t words_per_row = bf16 ? w.k_pad / 2 : w.k_pad;
    float* a = scratch_floats(Scratch::kActivations, static_cast<std::size_t>(m * words_per_row));
    parallel_for(m, std::max<std::int64_t>(1, 32768 / w.k_pad),
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     float* row = a + i * words_per_row;
                     // The padding first: it may share its last word with a value.
                     std::memset(row, 0, static_cast<std::size_t>(words_per_row) * sizeof(float));
                     if (bf16) {
                       table.f32_to_bf16(x.row(i), row, w.k);
                     } else {
                       std::memcpy(row, x.row(i), static_cast<std::size_t>(w.k) * sizeof(float));
                     }
                   }
                 });
    product.a = a;
  }
  dnnl_run(product);
  if (epilogue.gated) multiply_gates(table, product.y, y);
  return true;
}

/// How the activations of a product are packed, and the floats of room they take.
struct PackedActivations {
  int kind;
  std::int64_t rows;  ///< m, or whole tiles
  std::int64_t unit;  ///< rows that are packed together
  std::int64_t floats;
};

PackedActivations plan_activations(const KernelTable& table, const PackedMatrix::Impl& w,
                                   std::int64_t m, bool few) {
  const std::int64_t groups = w.k_pad / kQuantGroup;
  if (is_quantized(w.type)) {
    const bool four_bits = w.type == ComputeType::kInt4 || w.type == ComputeType::kQ4_0;
    const bool in_registers = four_bits && m <= kInt4Rows;
    const bool rows = few || keeps_blocks(w.type);  // AMX has no tiles for the latter
    const int kind =
        quant_activations(packed_element(w.type), in_registers ? static_cast<int>(kPackedInt8)
                                                  : rows       ? table.packed_a_int8
                                                               : table.blocked_a_int8);
    if (kind != kPackedInt8Tiles) return {kind, m, 1, groups * m * quant_row_bytes(kind) / 4};
    const std::int64_t tiles = round_up(m, kTileRows) / kTileRows;
    return {kind, tiles * kTileRows, kTileRows,
            groups * tiles * static_cast<std::int64_t>(sizeof(QuantTile) / 4)};
  }
  const bool bf16 = w.type == ComputeType::kBF16;
  const int kind = !bf16 ? static_cast<int>(few ? kPackedF32 : kPackedTiles)
                   : few ? table.packed_a_bf16
                         : table.blocked_a_bf16;
  const std::int64_t k_blocks = round_up(w.k_pad, kBlockK) / kBlockK;
  if (kind == kPackedBf16Tiles) {
    const std::int64_t rows = round_up(m, kTileRows);
    return {kind, rows, kTileRows, rows * w.k_pad / 2};
  }
  const bool tiles = kind == kPackedTiles || kind == kPackedTilesRounded;
  const std::int64_t unit = tiles ? table.row_tile : 1;
  const std::int64_t rows = round_up(m, unit);
  return {kind, rows, unit, k_blocks * rows * (kind == kPackedBf16 ? kBlockK / 2 : kBlockK)};
}

/// Calls gemm(begin, end) over all tasks, chunk * groups + group, dealt as the candidate says.
template <typename Gemm>
void deal_tasks(const MatmulCandidate& candidate, const Tasks& tasks, std::int64_t grain,
                Gemm&& gemm) {
  if (candidate.dealing != Dealing::kAffine) {
    parallel_tasks(candidate.dealing, tasks.chunks, tasks.groups, grain, gemm);
    return;
  }
  // Panels are the operand: a thread takes its panels through all chunks of rows.
  parallel_tasks(Dealing::kAffine, tasks.groups, tasks.chunks, grain,
                 [&](std::int64_t begin, std::int64_t end) {
                   for (std::int64_t i = begin; i < end; ++i) {
                     const std::int64_t task = i % tasks.chunks * tasks.groups + i / tasks.chunks;
                     gemm(task, task + 1);
                   }
                 });
}

void run_own(const KernelTable& table, const MatmulCandidate& candidate, TensorView<const float> x,
             const PackedMatrix::Impl& w, std::int64_t n, TensorView<float> y,
             const Epilogue& epilogue) {
  const std::int64_t m = x.size(0);
  const bool few = candidate.few;
  const PackedActivations packed = plan_activations(table, w, m, few);
  float* a = scratch_floats(Scratch::kActivations, static_cast<std::size_t>(packed.floats));
  parallel_for(packed.rows / packed.unit,
               std::max<std::int64_t>(1, 32768 / (w.k_pad * packed.unit)),
               [&](std::int64_t begin, std::int64_t end) {
                 table.pack_a(x.data(), x.stride(0), m, w.k, w.k_pad, packed.kind, a,
                              begin * packed.unit, std::min(m, end * packed.unit));
               });

  t_last_path = few ? MatmulPath::kFewRows : MatmulPath::kBlocked;
  const std::int64_t panels = round_up(n, kPanelCols) / kPanelCols;
  const Tasks tasks = plan_tasks(candidate, m, panels, std::max(packed.unit, table.row_tile));
  const GemmArgs args = {.a = a,
                         .b = w.words.data(),
                         .b_type = packed_element(w.type),
                         .m = m,
                         .n = n,
                         .k_pad = w.k_pad,
                         .a_rows = packed.rows,
                         .chunk_rows = tasks.chunk_rows,
                         .group = tasks.group,
                         .few_rows = few,
                         .y = y.data(),
                         .y_stride = y.stride(0),
                         .bias = epilogue.bias,
                         .activation = static_cast<int>(epilogue.activation),
                         .accumulate = epilogue.accumulate,
                         .gated = epilogue.gated};
  const auto gemm = is_quantized(w.type) ? table.gemm_quant : table.gemm;
  // A task of fewer than 100,000 products takes less than the 2 to 5 us of waking a thread.
  const std::int64_t products =
      std::max<std::int64_t>(1, tasks.chunk_rows * tasks.group * w.k_pad * kPanelCols);
  deal_tasks(candidate, tasks, std::max<std::int64_t>(1, 100'000 / products),
             [&](std::int64_t begin, std::int64_t end) {
               float* scratch = scratch_floats(
                   Scratch::kKernel,
                   static_cast<std::size_t>(gemm_scratch_floats(tasks.chunk_rows, tasks.group)));
               gemm(args, begin, end, scratch);
             });
}

bool same_bits(const KernelTable& table, const PackedMatrix::Impl& w, int a, int b) {
  return matmul_same_bits(table, w.type, matmul_candidates()[static_cast<std::size_t>(a)],
                          matmul_candidates()[static_cast<std::size_t>(b)]);
}

/// Times the candidates on the first rows of x and the first panels of w, whose results go into
/// scratch.
const TuneEntry* measure(Tuner& tuner, const KernelTable& table, const TuneKey& key,
                         TensorView<const float> x, const PackedMatrix::Impl& w, std::int64_t n_y,
                         const Epilogue& epilogue) {
  const bool everything = tuner.options().everything;
  const std::int64_t m = everything ? x.size(0) : std::min(x.size(0), kTrialRows);
  const std::int64_t some = round_up(kTrialProducts / (m * w.k_pad) + 1, kPanelCols);
  const std::int64_t n = everything ? w.n : std::min(w.n, std::max(some, kTrialColumns));
  AlignedBuffer<float> y(static_cast<std::size_t>(m * n_y));
  const TensorView<const float> rows(x.data(), {m, x.size(1)}, {x.stride(0), 1});
  const int rule = matmul_rule(table, x.size(0));
  std::vector<Tuner::Candidate> candidates;
  for (std::size_t i = 0; i < matmul_candidates().size(); ++i) {
    if (!matmul_supports(matmul_candidates()[i], m)) continue;
    candidates.push_back({static_cast<int>(i), same_bits(table, w, static_cast<int>(i), rule)});
  }
  return tuner.measure(key, candidates, rule, [&](int i) {
    run_own(table, matmul_candidates()[static_cast<std::size_t>(i)], rows, w, n,
            {y.data(), {m, n_y}}, epilogue);
  });
}

/// The candidate for a product: forced, measured (now, where the tuner may), or the rule.
int choose(const KernelTable& table, TensorView<const float> x, const PackedMatrix::Impl& w,
           std::int64_t n_y, const Epilogue& epilogue) {
  const std::int64_t m = x.size(0);
  const auto can_run = [&](int i) {
    return matmul_supports(matmul_candidates()[static_cast<std::size_t>(i)], m);
  };
  const int rule = matmul_rule(table, m);
  return choose_candidate(
      TunedOp::kMatmul, rule, m * w.n * w.k, can_run,
      [&](int i) { return same_bits(table, w, i, rule); }, [&] { return matmul_key(table, m, w); },
      [&](Tuner& tuner, const TuneKey& key) {
        return measure(tuner, table, key, x, w, n_y, epilogue);
      });
}

const char* path_name(MatmulPath path) {
  constexpr const char* kNames[] = {"nothing", "few_rows", "blocked", "onednn"};
  return kNames[static_cast<std::size_t>(path)];
}

SpanFacts facts_of(const KernelTable& table, std::int64_t m, const PackedMatrix::Impl& w,
                   TensorView<float> y, const Epilogue& epilogue) {
  const std::int64_t results = m * y.size(1) * (epilogue.accumulate ? 2 : 1);
  return {.shape = {{{"m", m}, {"n", w.n}, {"k", w.k}}},
          .dtype = compute_type_name(w.type),
          .kernel = path_name(t_last_path),
          .isa = isa_name(static_cast<Isa>(table.isa)).data(),
          .flop = 2 * m * w.n * w.k,
          .bytes = static_cast<std::int64_t>(w.words.size_bytes()) + 4 * (m * w.k + results)};
}

}  // namespace

const char* compute_type_name(ComputeType type) noexcept {
  constexpr const char* kNames[] = {"f32", "bf16", "int8", "int4", "q8_0", "q4_0"};
  return kNames[static_cast<std::size_t>(type)];
}

std::vector<StoredMatrix> gated_parts(const StoredMatrix& gate, const StoredMatrix& up) {
  REELM_CHECK(gate.rows == up.rows && gate.cols == up.cols);
  std::vector<StoredMatrix> parts;
  for (std::int64_t row = 0; row < gate.rows; row += kGatedRows) {
    const std::int64_t rows = std::min(kGatedRows, gate.rows - row);
    for (const StoredMatrix* from : {&gate, &up}) {
      const std::int64_t offset = dtype_bytes(from->dtype, row * from->cols);
      parts.push_back(
          {static_cast<const std::byte*>(from->data) + offset, from->dtype, rows, from->cols});
    }
  }
  return parts;
}

double bits_per_weight(ComputeType type) noexcept {
  return static_cast<double>(panel_words(kQuantGroup, type)) * 32.0 / (kQuantGroup * kPanelCols);
}

PackedMatrix::PackedMatrix() : impl_(std::make_shared<Impl>()) {}
PackedMatrix::PackedMatrix(std::span<const StoredMatrix> parts, ComputeType type)
    : impl_(pack(parts, type)) {}
PackedMatrix::PackedMatrix(const StoredMatrix& part, ComputeType type)
    : impl_(pack({&part, 1}, type)) {}
PackedMatrix::PackedMatrix(PackedMatrix&&) noexcept = default;
PackedMatrix& PackedMatrix::operator=(PackedMatrix&&) noexcept = default;
PackedMatrix::~PackedMatrix() = default;

std::int64_t PackedMatrix::out_features() const noexcept { return impl_->n; }
std::int64_t PackedMatrix::in_features() const noexcept { return impl_->k; }
ComputeType PackedMatrix::type() const noexcept { return impl_->type; }
std::span<const std::byte> PackedMatrix::packed_bytes() const noexcept {
  return std::as_bytes(impl_->words);
}
PackedMatrix PackedMatrix::shared_copy() const {
  PackedMatrix out;
  out.impl_ = impl_;
  return out;
}
std::shared_ptr<const void> PackedMatrix::share() const noexcept { return impl_; }

PackedMatrix PackedMatrix::from_packed(std::int64_t out_features, std::int64_t in_features,
                                       ComputeType type, std::span<const std::byte> bytes,
                                       std::shared_ptr<const void> owner) {
  REELM_CHECK(out_features >= 0 && in_features >= 0);
  if (reinterpret_cast<std::uintptr_t>(bytes.data()) % 64 != 0) {
    throw Error(ErrorCode::kFormat, "packed weights are not aligned to 64 bytes");
  }
  const char* what = "a packed weight";
  (void)checked_mul(checked_add(in_features, std::int64_t{256}, what),
                    checked_mul(checked_add(out_features, std::int64_t{64}, what), 4, what), what);
  auto impl = std::make_shared<Impl>();
  impl->n = out_features;
  impl->k = in_features;
  impl->k_pad = padded_k(in_features, type);
  impl->type = type;
  const std::int64_t words =
      round_up(out_features, kPanelCols) / kPanelCols * panel_words(impl->k_pad, type);
  if (static_cast<std::int64_t>(bytes.size()) != words * 4) {
    throw_error(ErrorCode::kFormat, "{}x{} packed weights of {} are {} bytes, expected {}",
                out_features, in_features, compute_type_name(type), bytes.size(), words * 4);
  }
  impl->words = {reinterpret_cast<const std::uint32_t*>(bytes.data()),
                 static_cast<std::size_t>(words)};
  impl->owner = std::move(owner);
  PackedMatrix out;
  out.impl_ = std::move(impl);
  return out;
}

MatmulPath last_matmul_path() noexcept { return t_last_path; }

void matmul(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
            const Epilogue& epilogue) {
  const PackedMatrix::Impl& impl = w.impl();
  REELM_CHECK(x.rank() == 2 && y.rank() == 2 && x.size(0) == y.size(0));
  REELM_CHECK(x.size(1) == impl.k && y.size(1) * (epilogue.gated ? 2 : 1) == impl.n);
  REELM_CHECK(!epilogue.gated ||
              (!epilogue.accumulate && epilogue.activation == Activation::kSilu));
  REELM_CHECK((impl.k <= 1 || x.stride(1) == 1) && (impl.n <= 1 || y.stride(1) == 1));
  const KernelTable& table = use_table();
  t_last_path = MatmulPath::kNothing;
  if (x.size(0) == 0 || impl.n == 0) return;
  TimelineSpan span("matmul", SpanKind::kKernel);
  if (run_dnnl(table, x, impl, y, epilogue)) {
    t_last_path = MatmulPath::kDnnl;
  } else {
    const int choice = choose(table, x, impl, y.size(1), epilogue);
    run_own(table, matmul_candidates()[static_cast<std::size_t>(choice)], x, impl, impl.n, y,
            epilogue);
  }
  if (span.recorded()) span.tell(facts_of(table, x.size(0), impl, y, epilogue));
}

}  // namespace reelm::kernels
