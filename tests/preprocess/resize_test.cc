// Resize and patchify: the references' bytes on every instruction set and any number of threads.
#include "preprocess/resize.h"

#include <cstring>

#include "core/parallel.h"
#include "preprocess/patchify.h"
#include "preprocess/resize_weights.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::crc32;
using testing::golden;
using testing::noise;

constexpr ResizeMode kModes[] = {ResizeMode::kTorchFloat, ResizeMode::kTorchUint8,
                                 ResizeMode::kPil};

std::vector<std::uint8_t> resized(const std::vector<std::uint8_t>& in, Size from, Size to,
                                  ResizeMode mode, VectorIsa isa) {
  std::vector<std::uint8_t> out(static_cast<std::size_t>(to.height * to.width * 3), 77);
  Resizer resizer(from, to, mode, isa);
  resizer.run({in.data(), {from.height, from.width, 3}}, {out.data(), {to.height, to.width, 3}});
  return out;
}

TEST(Resize, BytesOfTorchvisionAndPillow) {
  for (const Json& c : golden()["resize"]) {
    const Size from{c[0], c[1]}, to{c[2], c[3]};
    const auto in = noise(from.height * from.width * 3, c[4]);
    for (std::size_t m = 0; m < 3; ++m) {
      for (const VectorIsa isa : supported_vector_isas()) {
        EXPECT_EQ(crc32(std::span<const std::uint8_t>(resized(in, from, to, kModes[m], isa))),
                  c[5][m])
            << c << " mode " << m << " " << vector_isa_name(isa);
      }
    }
  }
}

TEST(Resize, SetsAgreeAtEverySmallSize) {
  const std::int64_t sides[] = {1, 2, 3, 7, 8, 9, 15, 16, 17, 33};
  for (const std::int64_t height : sides) {
    for (const std::int64_t width : sides) {
      const auto in = noise(height * width * 3, 3);
      for (const Size to : {Size{1, 1}, Size{5, 16}, Size{17, 9}, Size{40, 3}}) {
        for (const ResizeMode mode : kModes) {
          const auto expected = resized(in, {height, width}, to, mode, VectorIsa::kPortable);
          for (const VectorIsa isa : supported_vector_isas()) {
            ASSERT_EQ(resized(in, {height, width}, to, mode, isa), expected)
                << height << "x" << width << " to " << to.height << "x" << to.width;
          }
        }
      }
    }
  }
}

TEST(Resize, ThreadsAndPaddedRowsChangeNothing) {
  const Size from{211, 97}, to{140, 84};
  const auto in = noise(from.height * from.width * 3, 8);
  std::vector<std::uint8_t> padded(static_cast<std::size_t>(from.height * 320), 255);
  for (std::int64_t y = 0; y < from.height; ++y) {
    std::memcpy(padded.data() + y * 320, in.data() + y * 291, 291);
  }
  for (const ResizeMode mode : kModes) {
    set_num_threads(1);
    const auto expected = resized(in, from, to, mode, active_vector_isa());
    for (const int threads : {2, 3, 4}) {
      set_num_threads(threads);
      std::vector<std::uint8_t> out(expected.size());
      Resizer resizer(from, to, mode);
      for (int again = 0; again < 2; ++again) {  // the workspace is used twice
        resizer.run({padded.data(), {from.height, from.width, 3}, {320, 3, 1}},
                    {out.data(), {to.height, to.width, 3}});
        ASSERT_EQ(out, expected) << threads;
      }
    }
    set_num_threads(0);
  }
}

TEST(Resize, EqualSizesCopyAndConstantsStay) {
  const auto in = noise(20 * 30 * 3, 1);
  const std::vector<std::uint8_t> grey(50 * 40 * 3, 200);
  for (const ResizeMode mode : kModes) {
    EXPECT_EQ(resized(in, {20, 30}, {20, 30}, mode, active_vector_isa()), in);
    const auto out = resized(grey, {50, 40}, {28, 84}, mode, active_vector_isa());
    for (const std::uint8_t v : out) ASSERT_EQ(v, 200);
  }
}

TEST(Resize, WritesNothingOutside) {
  const Size from{30, 30}, to{29, 31};
  const auto in = noise(30 * 30 * 3, 4);
  std::vector<std::uint8_t> out(29 * 31 * 3 + 64, 77);
  for (const VectorIsa isa : supported_vector_isas()) {
    Resizer(from, to, ResizeMode::kTorchFloat, isa)
        .run({in.data(), {30, 30, 3}}, {out.data(), {29, 31, 3}});
    for (std::size_t i = 29 * 31 * 3; i < out.size(); ++i) ASSERT_EQ(out[i], 77);
  }
}

TEST(Resize, WeightsSumToOneAndStayInside) {
  for (const ResizeMode mode : kModes) {
    for (const auto& [in, out] : {std::pair{100, 37}, {37, 100}, {1, 5}, {4000, 28}, {2, 3}}) {
      const FilterBank bank = make_filter_bank(in, out, mode);
      for (std::int64_t i = 0; i < out; ++i) {
        const auto n = static_cast<std::size_t>(i);
        ASSERT_GE(bank.first[n], 0);
        ASSERT_GE(bank.count[n], 1);
        ASSERT_LE(bank.first[n] + bank.count[n], in);
        ASSERT_LE(bank.count[n], bank.stride);
        double sum = 0;
        for (std::int64_t k = 0; k < bank.stride; ++k) {
          const auto j = static_cast<std::size_t>(i * bank.stride + k);
          sum += mode == ResizeMode::kTorchFloat
                     ? static_cast<double>(bank.f32[j])
                     : static_cast<double>(bank.i32[j]) / static_cast<double>(1 << bank.precision);
        }
        ASSERT_NEAR(sum, 1.0, 0.01);
      }
    }
  }
}

TEST(Resize, RefusesEmptySides) {
  for (const Size bad : {Size{0, 4}, Size{4, 0}, Size{-1, 4}, Size{std::int64_t{1} << 40, 4}}) {
    const auto code = ErrorCode::kInvalidArgument;
    EXPECT_EQ(testing::error_of([&] { Resizer(bad, {4, 4}, ResizeMode::kPil); }).code(), code);
    EXPECT_EQ(testing::error_of([&] { Resizer({4, 4}, bad, ResizeMode::kPil); }).code(), code);
  }
}

TEST(Patchify, FloatsOfTheVideoProcessor) {
  const Json& c = golden()["patchify"];
  const std::int64_t frames = c["frames"], height = c["height"], width = c["width"];
  const auto video = noise(frames * height * width * 3, c["seed"]);
  const PreprocessorConfig config;
  const NormalizeTable table = make_normalize_table(config);
  const std::int64_t rows = (height / 14) * (width / 14);
  ASSERT_EQ(c["shape"], (Json{rows * frames / 2, 1176}));
  for (const VectorIsa isa : supported_vector_isas()) {
    std::vector<float> out(static_cast<std::size_t>(rows * frames / 2 * 1176));
    for (std::int64_t t = 0; t < frames / 2; ++t) {
      patchify({video.data() + t * 2 * height * width * 3, {2, height, width, 3}}, table, config,
               {out.data() + t * rows * 1176, {rows, 1176}}, isa);
    }
    EXPECT_EQ(crc32({reinterpret_cast<const std::uint8_t*>(out.data()), out.size() * 4}), c["crc"])
        << vector_isa_name(isa);
  }
}

TEST(Patchify, RefusesSettingsThatGiveNoNumbers) {
  const auto code = [](auto&& change) {
    PreprocessorConfig config;
    change(config);
    return testing::error_of([&] { make_normalize_table(config); }).code();
  };
  const auto bad = ErrorCode::kInvalidArgument;
  EXPECT_EQ(code([](auto& c) { c.image_mean[1] = 1e300; }), bad);
  EXPECT_EQ(code([](auto& c) { c.image_std[2] = 1e-45; }), bad);
  EXPECT_EQ(code([](auto& c) { c.image_std[0] = 0; }), bad);
  EXPECT_EQ(code([](auto& c) { c.rescale_factor = 1e-300; }), bad);
}

TEST(Patchify, OtherPatchSizesGoWhereTheFormulaSays) {
  PreprocessorConfig config;
  config.patch_size = 4;
  config.merge_size = 3;
  config.temporal_patch_size = 3;
  const std::int64_t height = 24, width = 36, grid_w = width / 4;
  const auto video = noise(3 * height * width * 3, 12);
  const NormalizeTable table = make_normalize_table(config);
  std::vector<float> out(static_cast<std::size_t>(height / 4 * grid_w * 3 * 3 * 16));
  patchify({video.data(), {3, height, width, 3}}, table, config,
           {out.data(), {height / 4 * grid_w, 3 * 3 * 16}});
  for (std::int64_t t = 0; t < 3; ++t) {
    for (std::int64_t y = 0; y < height; ++y) {
      for (std::int64_t x = 0; x < width; ++x) {
        const std::int64_t py = y / 4, px = x / 4;
        const std::int64_t row = ((py / 3 * (grid_w / 3) + px / 3) * 3 + py % 3) * 3 + px % 3;
        for (std::int64_t c = 0; c < 3; ++c) {
          const std::int64_t column = ((c * 3 + t) * 4 + y % 4) * 4 + x % 4;
          const std::uint8_t v =
              video[static_cast<std::size_t>(((t * height + y) * width + x) * 3 + c)];
          ASSERT_EQ(out[static_cast<std::size_t>(row * 144 + column)],
                    table[static_cast<std::size_t>(c)][v]);
        }
      }
    }
  }
}

}  // namespace
}  // namespace reelm::preprocess
