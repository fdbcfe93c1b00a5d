// Until the engine's interface stands: names an error code, which proves headers and linking.
#include <reelm/core/error.h>

#include <cstdio>

int main() {
  std::puts(reelm::error_code_name(reelm::ErrorCode::kNotFound));
  return 0;
}
