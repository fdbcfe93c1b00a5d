// Ids and texts of the `tokenizers` library for models/demo, and of tiktoken for
// tests/goldens/tiktoken; made by tools/make_tokenizer_goldens.py.
#include <gtest/gtest.h>

#include "core/json.h"
#include "core/throw.h"
#include "llm/tokenizer.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

constexpr const char* kRemake = "\nmake the goldens again: python tools/make_tokenizer_goldens.py";

std::string from_hex(const std::string& hex) {
  std::string out;
  for (std::size_t i = 0; i + 1 < hex.size(); i += 2) {
    out.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  }
  return out;
}

std::string digest(const std::vector<TokenId>& ids) {
  std::uint64_t value = 0xcbf29ce484222325u;
  for (const TokenId id : ids) value = (value ^ static_cast<std::uint64_t>(id)) * 0x100000001b3u;
  return fmt::format("{} {:016x}", ids.size(), value);
}

/// A file of goldens, and the directory of its tokenizer.
struct Source {
  const char* goldens;
  const char* directory;
};

class Goldens : public ::testing::TestWithParam<Source> {
 protected:
  const std::filesystem::path root_ = REELM_SOURCE_DIR;
  const Json goldens_ = read_json_file(root_ / "tests/goldens" / GetParam().goldens);
  const std::unique_ptr<Tokenizer> tokenizer_ = load_tokenizer(root_ / GetParam().directory);
};

TEST_P(Goldens, Encode) {
  ASSERT_GT(goldens_["encode"].size(), 100u);
  for (const Json& entry : goldens_["encode"]) {
    std::string text =
        entry.contains("hex") ? from_hex(entry["hex"]) : entry["text"].get<std::string>();
    const std::string once = text;
    for (int i = 1; i < entry.value("times", 1); ++i) text += once;
    const auto with_specials = tokenizer_->encode_with_specials(text);
    const auto plain = tokenizer_->encode(text);
    const Json& expected = entry["ids"];
    const Json& expected_plain = entry.contains("plain") ? entry["plain"] : expected;
    const auto same = [](const Json& golden, const std::vector<TokenId>& ids) {
      return golden.is_string() ? golden == digest(ids) : golden == Json(ids);
    };
    EXPECT_TRUE(same(expected, with_specials))
        << entry.dump() << "\nfound " << digest(with_specials) << " "
        << ::testing::PrintToString(with_specials) << kRemake;
    EXPECT_TRUE(same(expected_plain, plain))
        << entry.dump() << "\nfound without specials " << digest(plain) << " "
        << ::testing::PrintToString(plain) << kRemake;
  }
}

TEST_P(Goldens, Decode) {
  ASSERT_GT(goldens_["decode"].size(), 100u);
  for (const Json& entry : goldens_["decode"]) {
    const auto ids = entry["ids"].get<std::vector<TokenId>>();
    for (const bool skip : {false, true}) {
      const std::string expected = entry[skip ? "skipped" : "text"];
      EXPECT_EQ(tokenizer_->decode(ids, skip), expected) << entry.dump() << kRemake;
      StreamDecoder stream(*tokenizer_, skip);
      std::string text;
      for (const TokenId id : ids) text += stream.push(id);
      EXPECT_EQ(text + stream.finish(), expected) << entry.dump();
    }
  }
}

TEST_P(Goldens, ValidTextSurvives) {
  for (const Json& entry : goldens_["encode"]) {
    if (!entry.contains("text")) continue;
    const std::string text = entry["text"];
    EXPECT_EQ(tokenizer_->decode(tokenizer_->encode(text), false), normalize_nfc(text));
  }
}

INSTANTIATE_TEST_SUITE_P(
    , Goldens,
    ::testing::Values(Source{"tokenizer.json", "models/demo"},
                      Source{"tiktoken/goldens.json", "tests/goldens/tiktoken"}),
    [](const auto& instance) {
      return std::filesystem::path(instance.param.directory).filename().string();
    });

}  // namespace
}  // namespace reelm::llm
