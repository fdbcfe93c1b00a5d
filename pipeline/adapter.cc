#include "pipeline/adapter.h"

#include <charconv>
#include <cmath>

#include "core/throw.h"

namespace reelm::pipeline {

Adapter Adapter::parse(const std::string& text) {
  std::error_code ec;
  const std::size_t colon = text.rfind(':');
  if (colon == text.npos || std::filesystem::exists(text, ec)) {
    if (text.empty()) throw_error(ErrorCode::kInvalidArgument, "--lora is empty, expected a DIR");
    return {.directory = text};
  }
  Adapter out = {.directory = text.substr(0, colon)};
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data() + colon + 1, end, out.scale);
  const bool number = parsed.ec == std::errc() && parsed.ptr == end && std::isfinite(out.scale);
  if (!number || colon == 0) {
    throw_error(ErrorCode::kInvalidArgument, "--lora is '{}', expected DIR or DIR:SCALE", text);
  }
  return out;
}

}  // namespace reelm::pipeline
