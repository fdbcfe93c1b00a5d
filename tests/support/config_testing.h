// What the tests of the families' configs share.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <utility>

#include "core/error.h"
#include "tests/support/scratch_dir.h"

namespace reelm::testing {

/// A fixture that reads texts as config.json with kLoad, a family's loader.
template <auto kLoad>
class ConfigTest : public ScratchDirTest {
 protected:
  /// What tests write stands between `before` and `after`. Of keys that come twice the later
  /// counts, so that a test changes those of `before` as it adds others.
  explicit ConfigTest(std::string before = "", std::string after = "")
      : before_(std::move(before)), after_(std::move(after)) {}

  void put(const std::string& more) const { write("config.json", before_ + more + after_); }
  auto load(const std::string& more = "") const {
    put(more);
    return kLoad(dir_, {});
  }
  /// What is said of it; "" where nothing is.
  std::string error_of(const std::string& more, std::optional<ErrorCode> code = {}) const {
    try {
      (void)load(more);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), code.value_or(error.code())) << error.what();
      return error.what();
    }
    return "";
  }
  /// The same of what is right and not supported, and of what is wrong.
  std::string refused(const std::string& more) const {
    return error_of(more, ErrorCode::kUnsupported);
  }
  std::string wrong(const std::string& more) const { return error_of(more, ErrorCode::kFormat); }

 private:
  std::string before_, after_;
};

}  // namespace reelm::testing
