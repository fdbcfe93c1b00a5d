#include "apps/png.h"

#include <png.h>

#include <cstring>
#include <string>

#include "core/error.h"

namespace reelm::apps {

std::vector<std::byte> encode_png(TensorView<const std::uint8_t> rgb) {
  png_image image;
  std::memset(&image, 0, sizeof image);
  image.version = PNG_IMAGE_VERSION;
  image.width = static_cast<png_uint_32>(rgb.size(1));
  image.height = static_cast<png_uint_32>(rgb.size(0));
  image.format = PNG_FORMAT_RGB;
  png_alloc_size_t size = 0;
  const auto write = [&](void* to) {
    if (png_image_write_to_memory(&image, to, &size, 0, rgb.data(),
                                  static_cast<png_int_32>(rgb.stride(0)), nullptr) == 0) {
      throw Error(ErrorCode::kOutOfMemory, std::string("PNG: ") + image.message);
    }
  };
  write(nullptr);  // asks for the size
  std::vector<std::byte> out(size);
  write(out.data());
  out.resize(size);
  return out;
}

}  // namespace reelm::apps
