// What the tests of this folder share: goldens, clips, checksums.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/json.h"
#include "core/tensor_view.h"
#include "preprocess/frame_reader.h"

namespace reelm::preprocess::testing {

inline const std::filesystem::path kSource = REELM_SOURCE_DIR;

/// A clip of tests/media (tools/make_preprocess_media.sh).
inline std::filesystem::path clip(const std::string& name) {
  return kSource / "tests" / "media" / name;
}

/// tests/goldens/preprocess.json; made again by tools/make_preprocess_goldens.py.
inline const Json& golden() {
  static const Json json = read_json_file(kSource / "tests" / "goldens" / "preprocess.json");
  return json;
}

/// CRC-32 of zlib.
inline std::uint32_t crc32(std::span<const std::uint8_t> bytes, std::uint32_t crc = 0) {
  static const auto table = [] {
    std::array<std::uint32_t, 256> t{};
    for (std::uint32_t i = 0; i < 256; ++i) {
      t[i] = i;
      for (int k = 0; k < 8; ++k) t[i] = (t[i] >> 1) ^ ((t[i] & 1) != 0 ? 0xedb88320u : 0u);
    }
    return t;
  }();
  crc = ~crc;
  for (const std::uint8_t byte : bytes) crc = table[(crc ^ byte) & 255] ^ (crc >> 8);
  return ~crc;
}

/// Of the pixels, without the padding of rows.
inline std::uint32_t crc32(TensorView<const std::uint8_t> image) {
  std::uint32_t crc = 0;
  for (std::int64_t y = 0; y < image.size(0); ++y) {
    crc = crc32({image.row(y), static_cast<std::size_t>(image.size(1) * image.size(2))}, crc);
  }
  return crc;
}

/// `noise` of tools/make_preprocess_goldens.py.
inline std::vector<std::uint8_t> noise(std::int64_t count, std::uint64_t seed) {
  std::vector<std::uint8_t> out;
  for (std::int64_t i = 0; i < count; ++i) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    const std::int64_t wave = (i * 7 / 3 + (i >> 9)) & 255;
    out.push_back(static_cast<std::uint8_t>(
        (i / 1024) % 2 != 0 ? seed >> 56 : static_cast<std::uint64_t>(wave)));
  }
  return out;
}

inline std::vector<std::byte> read_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  const std::string text((std::istreambuf_iterator<char>(file)), {});
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

inline std::vector<std::byte> from_base64(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<std::byte> out;
  unsigned bits = 0;
  int n = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<unsigned>(digits.find(c));
    n += 6;
    if (n >= 8) out.push_back(static_cast<std::byte>(bits >> (n -= 8) & 255));
  }
  return out;
}

/// A folder of its own for one test, gone with the object.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "reelm-test-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder() { std::filesystem::remove_all(path_); }
  std::filesystem::path write(const std::string& name, std::span<const std::byte> bytes) const {
    std::ofstream(path_ / name, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()),
               static_cast<std::streamsize>(bytes.size()));
    return path_ / name;
  }
  std::filesystem::path write(const std::string& name, const std::string& text) const {
    return write(name, std::as_bytes(std::span(text)));
  }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// The code and message of the Error that `fn` throws; a failure when it throws none.
template <typename Fn>
Error error_of(Fn&& fn) {
  try {
    fn();
  } catch (const Error& e) {
    EXPECT_EQ(std::string(e.what()).find('\n'), std::string::npos) << "more than one line";
    return e;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kIo, "nothing was thrown");
}

/// Numbers 0 to n - 1.
inline std::vector<std::int64_t> all_frames(std::int64_t n) {
  std::vector<std::int64_t> out;
  for (std::int64_t i = 0; i < n; ++i) out.push_back(i);
  return out;
}

/// Checksums of the frames `indices` of a media, which decode without trouble.
inline std::vector<std::uint32_t> frame_crcs(Media& media, const std::vector<std::int64_t>& indices,
                                             const FrameReader::Options& options = {}) {
  FrameReader reader(media, indices, {}, nullptr, options);
  std::vector<std::uint32_t> out;
  RgbFrame frame;
  while (reader.next(frame)) out.push_back(crc32(frame.pixels));
  for (const std::string& warning : reader.warnings()) {  // sizes.ts
    EXPECT_NE(warning.find("size changes"), std::string::npos) << warning;
  }
  return out;
}

/// Names of the clips that PyAV's frames are recorded of: all of tests/media that hold a video.
inline std::vector<std::string> golden_clips() {
  std::vector<std::string> out;
  for (const auto& [name, expected] : golden()["frames"].items()) out.push_back(name);
  return out;
}

}  // namespace reelm::preprocess::testing
