#include "core/json.h"

#include <gtest/gtest.h>

#include "core/error.h"

namespace reelm {
namespace {

std::string error_of(const std::string& text) {
  try {
    parse_json(text, "x.json");
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

TEST(Json, DepthIsLimitedBeforeParsing) {
  EXPECT_NE(error_of(std::string(1'000'000, '[')).find("json-depth"), std::string::npos);
  EXPECT_EQ(error_of("{\"a\": \"[[[[\\\"[[[[[\"}"), "");
}

TEST(Json, NothingHidesBehindANul) {
  EXPECT_NE(error_of(std::string("{}\0 garbage", 11)).find("NUL at byte 2"), std::string::npos);
  EXPECT_EQ(error_of("{\"a\": \"\\u0000\"}"), "");
}

TEST(Json, ErrorsNameSourceAndKey) {
  EXPECT_NE(error_of("{").find("x.json"), std::string::npos);
  const Json object =
      parse_json(R"({"n": 3, "f": 2.0, "s": "text", "big": 1e300, "null": null})", "x");
  EXPECT_EQ(json_int(object, "n", "x", 0, 10), 3);
  EXPECT_EQ(json_int(object, "f", "x", 0, 10), 2);
  EXPECT_EQ(json_int_or(object, "null", "x", 0, 10, 7), 7);
  EXPECT_THROW(json_int(object, "n", "x", 0, 2), Error);
  EXPECT_THROW(json_int(object, "s", "x", 0, 2), Error);
  EXPECT_THROW(json_int(object, "big", "x", INT64_MIN, INT64_MAX), Error);
  EXPECT_THROW(json_string(object, "missing", "x"), Error);
}

TEST(Json, UniqueRefusesRepeatedKeysAtAnyDepth) {
  const auto unique_error = [](const std::string& text) -> std::string {
    try {
      parse_json_unique(text, "x.json");
    } catch (const Error& e) {
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(unique_error(R"({"a": {"a": 1}, "b": [{"a": 2}, {"a": 3}]})"), "");
  EXPECT_EQ(unique_error("[]"), "");
  EXPECT_NE(unique_error(R"({"a": 1, "b": 2, "a": 1})").find("\"a\" is there twice"),
            std::string::npos);
  EXPECT_NE(unique_error(R"([{"o": {"k": 1, "k": 2}}])").find("\"k\""), std::string::npos);
  EXPECT_NE(unique_error(R"({"a": )").find("not valid JSON"), std::string::npos);
  // The last one holds where names are not the data, as everywhere.
  EXPECT_EQ(json_int(parse_json(R"({"a": 1, "a": 2})", "x"), "a", "x", 0, 9), 2);
}

}  // namespace
}  // namespace reelm
