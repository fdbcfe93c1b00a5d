// A call that has to be refused, with its code and what its message says.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "core/error.h"

namespace reelm::bench {

template <typename Fn>
void expect_refused(Fn&& fn, ErrorCode code, const std::string& says) {
  try {
    fn();
    ADD_FAILURE() << "taken: " << says;
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    EXPECT_THAT(e.what(), ::testing::HasSubstr(says));
  }
}

}  // namespace reelm::bench
