// Sizes and settings: the arithmetic of frame counts and sizes with any numbers, then a picture
// that is resized and cut into patches.
// Holds: what is returned keeps its promise, and every instruction set gives the same bytes.
#include "core/parallel.h"
#include "preprocess/patchify.h"
#include "preprocess/resize.h"
#include "tests/fuzz/fuzz.h"

namespace reelm::fuzz {
namespace {

using namespace preprocess;

/// Small, or any at all.
std::optional<std::int64_t> take_number(Input& in) {
  switch (in.number(0, 3)) {
    case 0:
      return std::nullopt;
    case 1:
      return in.number(0, 5000);
    default:
      return in.take<std::int64_t>();
  }
}

std::optional<double> take_real(Input& in) {
  if (in.coin()) return std::nullopt;
  return in.coin() ? in.take<double>() : static_cast<double>(in.number(0, 1000)) / 8;
}

void check_arithmetic(Input& in) {
  SamplingOptions o;
  o.reference = in.coin() ? Reference::kHf : Reference::kQwenVlUtils;
  o.fps = take_real(in);
  o.frames = take_number(in);
  o.min_frames = take_number(in);
  o.max_frames = take_number(in);
  o.min_pixels = take_number(in);
  o.max_pixels = take_number(in);
  o.total_pixels = take_number(in);
  o.from = take_real(in);
  o.to = take_real(in);
  const std::int64_t total = in.number(1, 2'000'000);
  const double fps = take_real(in).value_or(25.0);
  const std::int64_t temporal = in.number(1, 4), factor = in.number(1, 112);
  const Size source{in.number(0, 1 << 14), in.number(0, 1 << 14)};
  std::int64_t n = 4;
  succeeds([&] {
    const FrameRange range = frame_range(total, fps, o);
    REELM_CHECK(range.first >= 0 && range.first <= range.last && range.last < total);
    n = frame_count(range.count(), fps, temporal, o);
    REELM_CHECK(n > 0 && n % temporal == 0);
    if (n > Limits().frames_kept) return;
    std::int64_t before = range.first;
    for (const std::int64_t i : frame_indices(range, n, o.reference)) {
      REELM_CHECK(i >= before && i <= range.last);
      before = i;
    }
  });
  const auto resize = [&](const PixelLimits& limits) {
    const Size size =
        smart_resize(source, factor, limits.min_pixels, limits.max_pixels, o.reference);
    REELM_CHECK(size.height > 0 && size.height % factor == 0);
    REELM_CHECK(size.width > 0 && size.width % factor == 0);
  };
  succeeds([&] { resize(image_pixel_limits(factor, o)); });
  const std::int64_t cap_tokens = in.coin() ? in.number(1, 200'000) : 0;
  succeeds([&] { resize(video_pixel_limits(n, factor, temporal, o, cap_tokens)); });
}

Size take_size(Input& in) {
  const std::int64_t height = in.number(1, 120);
  return {height, in.coin() ? in.number(1, 5'000 / height) : in.number(1, 40)};
}

std::vector<std::uint8_t> take_pixels(Input& in, std::int64_t n) {
  auto state = in.take<std::uint32_t>();
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(n));
  for (auto& v : pixels)
    v = static_cast<std::uint8_t>((state = state * 1664525 + 1013904223) >> 24);
  const Bytes chosen = in.bytes(pixels.size());
  std::copy(chosen.begin(), chosen.end(), pixels.begin());
  return pixels;
}

void check_resize(Input& in) {
  const Size from = take_size(in), to = take_size(in);
  const auto mode = static_cast<ResizeMode>(in.number(0, 2));
  const std::int64_t row = from.width * 3 + in.number(0, 7);
  const auto pixels = take_pixels(in, from.height * row);
  std::vector<std::uint8_t> expected;
  for (const VectorIsa isa : supported_vector_isas()) {
    std::vector<std::uint8_t> out(static_cast<std::size_t>(to.height * to.width * 3));
    Resizer(from, to, mode, isa)
        .run({pixels.data(), {from.height, from.width, 3}, {row, 3, 1}},
             {out.data(), {to.height, to.width, 3}});
    if (isa == VectorIsa::kPortable) expected = out;
    REELM_CHECK(out == expected);
  }
}

void check_patchify(Input& in) {
  PreprocessorConfig config;
  config.patch_size = in.number(1, 18);
  config.merge_size = in.number(1, 3);
  config.temporal_patch_size = in.number(1, 3);
  const std::int64_t height = config.factor() * in.number(1, 2);
  const std::int64_t width = config.factor() * in.number(1, 3);
  const auto frames = take_pixels(in, config.temporal_patch_size * height * width * 3);
  const NormalizeTable table = make_normalize_table(config);
  const std::int64_t rows = height * width / (config.patch_size * config.patch_size);
  const std::int64_t columns =
      3 * config.temporal_patch_size * config.patch_size * config.patch_size;
  std::vector<float> expected;
  for (const VectorIsa isa : supported_vector_isas()) {
    std::vector<float> out(static_cast<std::size_t>(rows * columns), -1e9f);
    patchify({frames.data(), {config.temporal_patch_size, height, width, 3}}, table, config,
             {out.data(), {rows, columns}}, isa);
    if (isa == VectorIsa::kPortable) expected = out;
    REELM_CHECK(out == expected);  // a value that was left out is -1e9 in none
    REELM_CHECK(std::find(out.begin(), out.end(), -1e9f) == out.end());
  }
}

}  // namespace

void fuzz_one(Bytes input) {
  set_num_threads(1);
  Input in(input);
  switch (in.number(0, 2)) {
    case 0:
      return check_arithmetic(in);
    case 1:
      return check_resize(in);
    default:
      return check_patchify(in);
  }
}

}  // namespace reelm::fuzz
