#include "core/host.h"

#include <cstdlib>
#include <fstream>

namespace reelm {

std::string cpu_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

std::filesystem::path user_cache_directory() {
  const auto absolute = [](const char* name) {
    const char* value = std::getenv(name);
    const std::filesystem::path path = value == nullptr ? "" : value;
    // Relative ones are to be ignored (XDG).
    return path.is_absolute() ? path : std::filesystem::path();
  };
  if (const std::filesystem::path xdg = absolute("XDG_CACHE_HOME"); !xdg.empty()) {
    return xdg / "reelm";
  }
  const std::filesystem::path home = absolute("HOME");
  return home.empty() ? home : home / ".cache/reelm";
}

}  // namespace reelm
