// The version of the library.
#pragma once

namespace reelm {

/// "0.1.0": semantic version of the library that is linked.
const char* version() noexcept;

}  // namespace reelm
