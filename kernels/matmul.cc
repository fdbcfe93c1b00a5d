#include "kernels/matmul.h"

#include <omp.h>

#include <algorithm>
#include <cstring>

#include "core/parallel.h"
#include "kernels/dispatch.h"
#include "kernels/matmul_dnnl.h"
#include "kernels/matmul_impl.h"

namespace reelm::kernels {

namespace {

thread_local MatmulPath t_last_path = MatmulPath::kNothing;

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

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

// Packs the columns of panel `index`: rows of the parts, stacked.
void pack_panel(const KernelTable& table, std::span<const StoredMatrix> parts,
                const PackedMatrix::Impl& impl, std::int64_t index, std::uint32_t* panel) {
  const int packed = impl.type == ComputeType::kBF16 ? kElementBf16 : kElementF32;
  const std::int64_t row0 = index * kPanelCols;
  const std::int64_t row1 = std::min(impl.n, row0 + kPanelCols);
  std::int64_t first = 0;  // first stacked row of the part
  for (const StoredMatrix& part : parts) {
    const std::int64_t begin = std::max(row0, first), end = std::min(row1, first + part.rows);
    if (begin < end) {
      const std::int64_t row_bytes = part.cols * static_cast<std::int64_t>(dtype_size(part.dtype));
      table.pack_b(static_cast<const char*>(part.data) + (begin - first) * row_bytes, row_bytes,
                   element_type(part.dtype), end - begin, impl.k, impl.k_pad, packed, begin - row0,
                   panel);
    }
    first += part.rows;
  }
}

std::unique_ptr<const PackedMatrix::Impl> pack(std::span<const StoredMatrix> parts,
                                               ComputeType type) {
  auto impl = std::make_unique<PackedMatrix::Impl>();
  impl->type = type;
  impl->k = parts.empty() ? 0 : parts[0].cols;
  for (const StoredMatrix& part : parts) {
    REELM_CHECK(part.cols == impl->k && part.rows >= 0 && part.cols >= 0);
    impl->n += part.rows;
  }
  const bool bf16 = type == ComputeType::kBF16;
  impl->k_pad = std::max<std::int64_t>(round_up(impl->k, bf16 ? 32 : 16), bf16 ? 32 : 16);
  const std::int64_t panels = round_up(impl->n, kPanelCols) / kPanelCols;
  const std::int64_t panel_words = (bf16 ? impl->k_pad / 2 : impl->k_pad) * kPanelCols;
  impl->words = AlignedBuffer<std::uint32_t>(static_cast<std::size_t>(panels * panel_words));
  const KernelTable& table = use_table();
  parallel_for(panels, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      std::uint32_t* panel = impl->words.data() + i * panel_words;
      if ((i + 1) * kPanelCols > impl->n) {
        std::memset(panel, 0, static_cast<std::size_t>(panel_words) * sizeof(*panel));
      }
      pack_panel(table, parts, *impl, i, panel);
    }
  });
  return impl;
}

// What one task covers: rows and panels that leave a block of activations, a panel's block and the
// sums (176 + 64 + 88 KB in f32) in 512 KB of second cache; less when threads would have too few
// tasks. Measured on Zen 3 against one panel a task: as fast at k = 1,536, 10 % faster at k =
// 8,960.
struct Tasks {
  std::int64_t chunk_rows;
  std::int64_t group;
  std::int64_t count;
};

Tasks plan_tasks(std::int64_t m, std::int64_t panels, std::int64_t row_tile, bool few) {
  constexpr std::int64_t kChunk = 176, kGroup = 2;
  if (few) return {m, 1, panels};
  const std::int64_t wanted = 4 * static_cast<std::int64_t>(num_threads());
  std::int64_t chunks = (m + kChunk - 1) / kChunk;
  std::int64_t group = std::clamp<std::int64_t>(chunks * panels / wanted, 1, kGroup);
  if (chunks * panels < wanted) {
    chunks = std::max(chunks, std::min((wanted + panels - 1) / panels, m / 48));
  }
  const std::int64_t chunk_rows = round_up((m + chunks - 1) / chunks, row_tile);
  return {chunk_rows, group, (m + chunk_rows - 1) / chunk_rows * ((panels + group - 1) / group)};
}

// oneDNN's product, when it has one for this machine and shape.
bool run_dnnl(const KernelTable& table, TensorView<const float> x, const PackedMatrix::Impl& w,
              TensorView<float> y, const Epilogue& epilogue) {
  const bool bf16 = w.type == ComputeType::kBF16;
  const Isa isa = static_cast<Isa>(table.isa);
  const std::int64_t m = x.size(0);
  if (m < kDnnlRows || isa < (bf16 ? Isa::kAvx512Bf16 : Isa::kAvx512) || !table_is_native(table) ||
      (m > 1 && y.stride(0) != w.n) || omp_in_parallel() != 0) {
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
  return true;
}

void run_own(const KernelTable& table, TensorView<const float> x, const PackedMatrix::Impl& w,
             TensorView<float> y, const Epilogue& epilogue) {
  const std::int64_t m = x.size(0);
  const bool bf16 = w.type == ComputeType::kBF16;
  const int kind = bf16 ? table.packed_a_bf16 : static_cast<int>(kPackedF32);
  const std::int64_t k_blocks = round_up(w.k_pad, kBlockK) / kBlockK;
  const std::int64_t floats = k_blocks * m * (kind == kPackedBf16 ? kBlockK / 2 : kBlockK);
  float* a = scratch_floats(Scratch::kActivations, static_cast<std::size_t>(floats));
  parallel_for(m, std::max<std::int64_t>(1, 32768 / w.k_pad),
               [&](std::int64_t begin, std::int64_t end) {
                 table.pack_a(x.data(), x.stride(0), m, w.k, w.k_pad, kind, a, begin, end);
               });

  const bool few = m <= kFewRows;
  t_last_path = few ? MatmulPath::kFewRows : MatmulPath::kBlocked;
  const std::int64_t panels = round_up(w.n, kPanelCols) / kPanelCols;
  const Tasks tasks = plan_tasks(m, panels, table.row_tile, few);
  const GemmArgs args = {.a = a,
                         .b = w.words.data(),
                         .b_type = bf16 ? kElementBf16 : kElementF32,
                         .m = m,
                         .n = w.n,
                         .k_pad = w.k_pad,
                         .chunk_rows = tasks.chunk_rows,
                         .group = tasks.group,
                         .few_rows = few,
                         .y = y.data(),
                         .y_stride = y.stride(0),
                         .bias = epilogue.bias,
                         .activation = static_cast<int>(epilogue.activation),
                         .accumulate = epilogue.accumulate};
  // A task of fewer than 100,000 products takes less than the 2 to 5 us of waking a thread.
  const std::int64_t products =
      std::max<std::int64_t>(1, tasks.chunk_rows * tasks.group * w.k_pad * kPanelCols);
  parallel_for(tasks.count, std::max<std::int64_t>(1, 100'000 / products),
               [&](std::int64_t begin, std::int64_t end) {
                 float* scratch = scratch_floats(
                     Scratch::kKernel,
                     static_cast<std::size_t>(gemm_scratch_floats(tasks.chunk_rows, tasks.group)));
                 table.gemm(args, begin, end, scratch);
               });
}

}  // namespace

PackedMatrix::PackedMatrix() : impl_(std::make_unique<Impl>()) {}
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
std::size_t PackedMatrix::size_bytes() const noexcept { return impl_->words.size_bytes(); }

MatmulPath last_matmul_path() noexcept { return t_last_path; }

void matmul(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
            const Epilogue& epilogue) {
  const PackedMatrix::Impl& impl = w.impl();
  REELM_CHECK(x.rank() == 2 && y.rank() == 2 && x.size(0) == y.size(0));
  REELM_CHECK(x.size(1) == impl.k && y.size(1) == impl.n);
  REELM_CHECK((impl.k <= 1 || x.stride(1) == 1) && (impl.n <= 1 || y.stride(1) == 1));
  const KernelTable& table = use_table();
  t_last_path = MatmulPath::kNothing;
  if (x.size(0) == 0 || impl.n == 0) return;
  if (run_dnnl(table, x, impl, y, epilogue)) {
    t_last_path = MatmulPath::kDnnl;
    return;
  }
  run_own(table, x, impl, y, epilogue);
}

}  // namespace reelm::kernels
