// What an Error says, whatever went into it.
#include "core/error.h"

#include <gtest/gtest.h>

namespace reelm {
namespace {

TEST(Error, IsOneLineForATerminal) {
  const Error error(ErrorCode::kFormat, "tensor 'a\n\x1b[2J\x7f\u00e9': twice");
  EXPECT_STREQ(error.what(), "tensor 'a  [2J \u00e9': twice");
  EXPECT_EQ(error.code(), ErrorCode::kFormat);
}

TEST(Error, IsOfASaneLength) {
  const std::string longest(4096, 'x');
  EXPECT_EQ(one_line(longest), longest);
  EXPECT_EQ(one_line(longest + "y"), longest.substr(3) + "...");
  EXPECT_EQ(one_line(""), "");
}

}  // namespace
}  // namespace reelm
