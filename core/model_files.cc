#include "core/model_files.h"

#include "core/mapped_file.h"
#include "core/throw.h"

namespace reelm {

bool ModelFiles::has(std::string_view name) const {
  std::error_code ignored;
  return made() ? texts_->find(name) != texts_->end()
                : std::filesystem::exists(path_ / name, ignored);
}

std::string ModelFiles::where(std::string_view name) const {
  return made() ? fmt::format("{} ({})", path_.string(), name) : (path_ / name).string();
}

std::string ModelFiles::read(std::string_view name, const Limits& limits) const {
  if (made()) {
    const auto it = texts_->find(name);
    if (it != texts_->end()) return it->second;
    throw_error(ErrorCode::kNotFound, "{}: says nothing of what is in {}", path_.string(), name);
  }
  const MappedFile file = map_parsed_file(path_ / name, limits);
  const auto bytes = file.bytes();
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

}  // namespace reelm
