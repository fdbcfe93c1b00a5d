#include "preprocess/resize.h"

#include <algorithm>
#include <atomic>
#include <cstring>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/checked.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "preprocess/resize_weights.h"
#include "preprocess/vector_loops.h"

namespace reelm::preprocess {
namespace {

// What one thread works in: one block of source rows as columns, and a ring of rows that went
// through the horizontal pass. 2048x1024 to 1092x532 with 16 lanes: 393 KB and 32 rows = 420 KB.
struct Workspace {
  AlignedBuffer<std::uint32_t> columns;  // [width*3 + 8, lanes]
  AlignedBuffer<std::uint32_t> ring;     // [ring_rows, ring_stride]
};

vector::Arithmetic arithmetic_of(ResizeMode mode) {
  switch (mode) {
    case ResizeMode::kTorchFloat:
      return vector::Arithmetic::kFloat;
    case ResizeMode::kTorchUint8:
      return vector::Arithmetic::kInt16;
    case ResizeMode::kPil:
      return vector::Arithmetic::kInt32;
  }
  return vector::Arithmetic::kFloat;
}

std::int64_t round_up(std::int64_t n, std::int64_t to) { return (n + to - 1) / to * to; }

/// Pillow 13 (ImagingResampleInner): the vertical pass goes first when the height shrinks by more
/// than twice as many pixels as the width does. The rounding between the passes makes that visible.
bool vertical_first(Size source, Size target, ResizeMode mode) {
  const std::int64_t lost = source.height - target.height;
  return mode == ResizeMode::kPil && lost > 0 && lost > (source.width - target.width) * 2;
}

/// [height, width, 3] to [width, height, 3].
void transpose(TensorView<const std::uint8_t> from, std::uint8_t* to) {
  const std::int64_t height = from.size(0), width = from.size(1);
  constexpr std::int64_t kTile = 32;
  for (std::int64_t y0 = 0; y0 < height; y0 += kTile) {
    for (std::int64_t x = 0; x < width; ++x) {
      for (std::int64_t y = y0; y < std::min(y0 + kTile, height); ++y) {
        std::memcpy(to + (x * height + y) * 3, from.row(y) + x * 3, 3);
      }
    }
  }
}

const void* weights_of(const FilterBank& bank, std::int64_t i) {
  if (!bank.f32.empty()) return bank.f32.data() + i * bank.stride;
  return bank.i32.data() + i * bank.stride;
}

}  // namespace

struct Resizer::Impl {
  Size source;
  Size target;
  vector::Arithmetic arithmetic = vector::Arithmetic::kFloat;
  const vector::Loops* loops = nullptr;
  FilterBank horizontal;
  FilterBank vertical;
  std::int64_t ring_rows = 0;    // a multiple of lanes: a block never wraps
  std::int64_t ring_stride = 0;  // elements
  std::vector<Workspace> workspaces;
  // Vertical pass first: everything else is unused, and this works on the transposed picture.
  std::unique_ptr<Resizer> turned;
  AlignedBuffer<std::uint8_t> turned_source, turned_target;

  void grow_workspaces(std::size_t n) {
    const std::int64_t lanes = loops->lanes;
    while (workspaces.size() < n) {
      Workspace& w = workspaces.emplace_back();
      w.columns =
          AlignedBuffer<std::uint32_t>(static_cast<std::size_t>((source.width * 3 + 8) * lanes));
      // The vertical pass reads whole vectors: up to 4 * lanes elements past the last row's end.
      w.ring = AlignedBuffer<std::uint32_t>(
          static_cast<std::size_t>(ring_rows * ring_stride + 4 * lanes));
      std::memset(w.ring.data(), 0, w.ring.size_bytes());
    }
  }

  vector::HorizontalPass horizontal_pass(TensorView<const std::uint8_t> pixels,
                                         Workspace& w) const {
    vector::HorizontalPass p{};
    p.source = pixels.data();
    p.source_stride = pixels.stride(0);
    p.height = source.height;
    p.width = source.width;
    p.n = target.width;
    p.first = horizontal.first.data();
    p.count = horizontal.count.data();
    p.weights = weights_of(horizontal, 0);
    p.weight_stride = horizontal.stride;
    p.precision = horizontal.precision;
    p.columns = w.columns.data();
    p.target_stride = ring_stride;
    return p;
  }

  // Output rows [begin, end): source rows pass through the ring in blocks of `lanes`, each once.
  void run_rows(TensorView<const std::uint8_t> pixels, std::uint8_t* out, std::int64_t begin,
                std::int64_t end, Workspace& w) const {
    const std::int64_t lanes = loops->lanes;
    vector::HorizontalPass h = horizontal_pass(pixels, w);
    vector::VerticalPass v{};
    v.ring = w.ring.data();
    v.ring_rows = ring_rows;
    v.ring_stride = ring_stride;
    v.precision = vertical.precision;
    v.n = target.width * 3;
    std::int64_t done = vertical.first[static_cast<std::size_t>(begin)] / lanes * lanes;
    for (std::int64_t y = begin; y < end; ++y) {
      v.first = vertical.first[static_cast<std::size_t>(y)];
      v.count = vertical.count[static_cast<std::size_t>(y)];
      for (; done < v.first + v.count; done += lanes) {
        h.row = done;
        h.target = w.ring.data() + done % ring_rows * ring_stride;
        loops->horizontal(arithmetic, h);
      }
      v.weights = weights_of(vertical, y);
      v.target = out + y * target.width * 3;
      loops->vertical(arithmetic, v);
    }
  }
};

Resizer::Resizer(Size source, Size target, ResizeMode mode)
    : Resizer(source, target, mode, active_vector_isa()) {}

Resizer::Resizer(Size source, Size target, ResizeMode mode, VectorIsa isa)
    : impl_(std::make_unique<Impl>()) {
  constexpr std::int64_t kMaxSide = 1 << 24;  // Limits::frame_pixels is far below
  for (const std::int64_t side : {source.height, source.width, target.height, target.width}) {
    if (side < 1 || side > kMaxSide) {
      throw_error(ErrorCode::kInvalidArgument, "resize {}x{} to {}x{}: sides must be 1 to {}",
                  source.width, source.height, target.width, target.height, kMaxSide);
    }
  }
  Impl& m = *impl_;
  m.source = source;
  m.target = target;
  m.arithmetic = arithmetic_of(mode);
  m.loops = &loops_of(isa);
  if (source == target) return;
  if (vertical_first(source, target, mode)) {
    m.turned = std::make_unique<Resizer>(Size{source.width, source.height},
                                         Size{target.width, target.height}, mode, isa);
    m.turned_source =
        AlignedBuffer<std::uint8_t>(static_cast<std::size_t>(source.height * source.width * 3));
    m.turned_target =
        AlignedBuffer<std::uint8_t>(static_cast<std::size_t>(target.height * target.width * 3));
    return;
  }
  m.horizontal = make_filter_bank(source.width, target.width, mode);
  m.vertical = make_filter_bank(source.height, target.height, mode);
  const std::int64_t lanes = m.loops->lanes;
  // The taps of a row, plus the blocks its first and last row begin and end in.
  m.ring_rows = round_up(m.vertical.stride, lanes) + 2 * lanes;
  // The last transposes of a row write up to 3 * lanes elements too many.
  m.ring_stride = round_up(target.width * 3 + 3 * lanes, 16);
}

Resizer::Resizer(Resizer&&) noexcept = default;
Resizer& Resizer::operator=(Resizer&&) noexcept = default;
Resizer::~Resizer() = default;

Size Resizer::source() const noexcept { return impl_->source; }
Size Resizer::target() const noexcept { return impl_->target; }

void Resizer::run(TensorView<const std::uint8_t> source, TensorView<std::uint8_t> target) {
  Impl& m = *impl_;
  REELM_CHECK(source.rank() == 3 && source.size(0) == m.source.height &&
              source.size(1) == m.source.width && source.size(2) == 3 && source.stride(1) == 3);
  REELM_CHECK(target.rank() == 3 && target.size(0) == m.target.height &&
              target.size(1) == m.target.width && target.size(2) == 3);
  if (m.source == m.target) {
    for (std::int64_t y = 0; y < m.source.height; ++y) {
      std::memcpy(target.row(y), source.row(y), static_cast<std::size_t>(m.source.width * 3));
    }
    return;
  }
  if (m.turned) {
    transpose(source, m.turned_source.data());
    m.turned->run({m.turned_source.data(), {m.source.width, m.source.height, 3}},
                  {m.turned_target.data(), {m.target.width, m.target.height, 3}});
    transpose({m.turned_target.data(), {m.target.width, m.target.height, 3}}, target.data());
    return;
  }
  // Each thread repeats the horizontal pass for the rows its first outputs share with the thread
  // above: with 32 output rows or more a thread that is a small part.
  constexpr std::int64_t kGrain = 32;
  m.grow_workspaces(static_cast<std::size_t>(
      std::min<std::int64_t>(num_threads(), (m.target.height + kGrain - 1) / kGrain)));
  std::atomic<std::size_t> next{0};
  parallel_for(m.target.height, kGrain, [&](std::int64_t begin, std::int64_t end) {
    m.run_rows(source, target.data(), begin, end, m.workspaces[next.fetch_add(1)]);
  });
}

}  // namespace reelm::preprocess
