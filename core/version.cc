#include "core/version.h"

namespace reelm {

const char* version() noexcept { return REELM_VERSION; }

}  // namespace reelm
