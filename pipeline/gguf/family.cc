#include "pipeline/gguf/family.h"

#include "core/throw.h"

namespace reelm::pipeline::gguf {

namespace {

constexpr const Family* kFamilies[] = {&kQwen2, &kQwen2Vl};

std::string full_key(const GgufFile& file, const std::string& key) {
  return key.starts_with('.') ? required_string(file, "general.architecture") + key : key;
}

template <typename T>
T required(const GgufFile& file, const std::string& key, std::optional<T> found) {
  if (found) return *std::move(found);
  throw_error(ErrorCode::kFormat, "{}: metadata '{}' is missing", file.path().string(), key);
}

}  // namespace

std::string required_string(const GgufFile& file, const std::string& key) {
  return required(file, key, file.string(key));
}

std::int64_t required_integer(const GgufFile& file, const std::string& key, std::int64_t max) {
  const std::string full = full_key(file, key);
  return required(file, full, file.integer(full, 1, max));
}

const Family& find_family(const GgufFile& file) {
  const std::string architecture = required_string(file, "general.architecture");
  std::string known;
  for (const Family* family : kFamilies) {
    if (architecture == family->architecture) return *family;
    known += (known.empty() ? "" : ", ") + std::string(family->architecture);
  }
  throw_error(ErrorCode::kUnsupported,
              "{}: general.architecture '{}' is not supported, expected one of: {}{}",
              file.path().string(), architecture.substr(0, 60), known,
              architecture == "clip" ? " (a mmproj file goes with --mmproj)" : "");
}

}  // namespace reelm::pipeline::gguf
