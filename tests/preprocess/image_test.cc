// Still images against Pillow, and broken ones.
#include "preprocess/image.h"

#include <webp/encode.h>

#include <random>

#include "preprocess/media.h"
#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::error_of;
using testing::from_base64;
using testing::golden;

std::vector<std::byte> picture(const std::string& name) {
  for (const Json& c : golden()["images"]) {
    if (c[0] == name) return from_base64(c[1]);
  }
  ADD_FAILURE() << name;
  return {};
}

TEST(Image, PixelsOfPillow) {
  for (const Json& c : golden()["images"]) {
    const std::string name = c[0];
    const auto bytes = from_base64(c[1]);
    const ImageHeader header = read_image_header(bytes, name);
    EXPECT_EQ(header.size, (Size{c[3][0], c[3][1]})) << name;
    EXPECT_EQ(header.mode, c[2]) << name;
    const RgbImage image = decode_image(bytes, name);
    EXPECT_EQ(testing::crc32(std::span(image.pixels.data(), image.pixels.size())), c[4]) << name;
  }
}

/// A lossless WebP of noise, and its pixels: as large as they are, so that it is decoded in pieces.
std::vector<std::byte> noise_webp(Size size, std::vector<std::uint8_t>& rgb) {
  std::mt19937 engine(1);
  rgb.resize(static_cast<std::size_t>(size.height * size.width * 3));
  for (auto& v : rgb) v = static_cast<std::uint8_t>(engine());
  std::uint8_t* out = nullptr;
  const std::size_t n =
      WebPEncodeLosslessRGB(rgb.data(), static_cast<int>(size.width), static_cast<int>(size.height),
                            static_cast<int>(size.width * 3), &out);
  const auto* bytes = reinterpret_cast<const std::byte*>(out);
  std::vector<std::byte> webp(bytes, bytes + n);
  WebPFree(out);
  return webp;
}

TEST(Image, ALargeWebpIsDecodedInPieces) {
  std::vector<std::uint8_t> rgb;
  const auto webp = noise_webp({300, 301}, rgb);
  ASSERT_GT(webp.size(), std::size_t{256} << 10);
  const RgbImage image = decode_image(webp, "a.webp");
  EXPECT_TRUE(std::equal(rgb.begin(), rgb.end(), image.pixels.data(),
                         image.pixels.data() + image.pixels.size()));
  for (const std::size_t length : {webp.size() - 8, std::size_t{64} << 10, std::size_t{100}}) {
    const Error cut =
        error_of([&] { (void)decode_image(std::span(webp).first(length), "a.webp"); });
    EXPECT_EQ(cut.code(), ErrorCode::kFormat) << length;
  }
}

TEST(Image, TruncatedAtEveryLengthIsAnErrorNeverACrash) {
  for (const char* name : {"rgba.png", "rgb.jpg", "progressive.jpg", "lossy.webp", "alpha.webp",
                           "animated.webp", "palette.png"}) {
    const auto bytes = picture(name);
    for (std::size_t n = 0; n < bytes.size(); n += n < 64 ? 1 : 7) {
      try {
        decode_image(std::span(bytes).first(n), name);
        // Only what follows the picture may be missing: the end marker, other frames.
        EXPECT_GT(n, bytes.size() / 3) << name;
      } catch (const Error& e) {
        EXPECT_TRUE(e.code() == ErrorCode::kFormat || e.code() == ErrorCode::kUnsupported)
            << name << " " << n << ": " << e.what();
      }
    }
  }
}

TEST(Image, DamagedBytesAreAnErrorOrAPictureNeverACrash) {
  for (const Json& c : golden()["images"]) {
    const auto bytes = from_base64(c[1]);
    for (std::size_t at = 0; at < bytes.size(); at += 5) {
      auto damaged = bytes;
      damaged[at] ^= std::byte{0x5a};
      try {
        decode_image(damaged, c[0], Limits{.frame_pixels = 1 << 20});
      } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(c[0].get<std::string>()), std::string::npos);
      }
    }
  }
}

TEST(Image, SizesAreCheckedBeforeAnythingIsAllocated) {
  auto bytes = picture("rgb.png");
  // Width and height of IHDR; the checksum would be found wrong later.
  for (int i = 16; i < 24; ++i) bytes[static_cast<std::size_t>(i)] = std::byte{0x7f};
  const Error e = error_of([&] { decode_image(bytes, "huge.png"); });
  EXPECT_TRUE(e.code() == ErrorCode::kLimit || e.code() == ErrorCode::kFormat) << e.what();
  const Error small =
      error_of([] { decode_image(picture("rgb.jpg"), "rgb.jpg", Limits{.frame_pixels = 100}); });
  EXPECT_EQ(small.code(), ErrorCode::kLimit);
  EXPECT_NE(std::string(small.what()).find("frame-pixels"), std::string::npos) << small.what();
  const auto file = picture("lossy.webp");
  const Error bytes_limit = error_of([&] {
    Media media(MediaSource::from_memory(std::span(file), "a.webp"), Limits{.image_bytes = 10});
  });
  EXPECT_EQ(bytes_limit.code(), ErrorCode::kLimit);
}

TEST(Image, MediaDescribesAndReadsIt) {
  const auto file = picture("rgba.png");
  Media media(MediaSource::from_memory(std::span(file), "rgba.png"));
  EXPECT_TRUE(media.is_image());
  EXPECT_EQ(media.info().container, "png");
  EXPECT_EQ(media.info().video().pixel_format, "RGBA");
  EXPECT_EQ(media.info().video().width, 22);
  EXPECT_EQ(error_of([&] { media.frame_index(); }).code(), ErrorCode::kInvalidArgument);
  for (const Json& c : golden()["images"]) {
    if (c[0] == "rgba.png") {
      EXPECT_EQ(testing::frame_crcs(media, {0})[0], c[4]);
    }
  }
  EXPECT_EQ(error_of([&] { FrameReader(media, {1}); }).code(), ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace reelm::preprocess
