// What a program asks of the machine it runs on. Not installed.
#pragma once

#include <filesystem>
#include <string>

namespace reelm {

/// "AMD EPYC"; "unknown" where the system does not say.
std::string cpu_name();

/// $XDG_CACHE_HOME/reelm, ~/.cache/reelm, or nothing. It may not be there yet.
std::filesystem::path user_cache_directory();

}  // namespace reelm
