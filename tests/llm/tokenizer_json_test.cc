#include "llm/tokenizer_json.h"

#include <gtest/gtest.h>

#include "llm/tokenizer_files.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

using nlohmann::json;
using testing::small_tokenizer;
using testing::TempDir;
using Vocab = std::vector<std::pair<std::string, TokenId>>;
using Merges = std::vector<std::pair<std::string, std::string>>;

std::optional<TokenizerJson> take(std::string_view text, Limits limits = {}) {
  return take_tokenizer_json(text, kTokenizerJsonPlaces, limits);
}

TEST(TokenizerJson, TakesVocabularyAndMergesAndLeavesTheRest) {
  const auto taken = take(R"({"a": [1, {"vocab": {"x": 1}}, -2.5, null],
      "model": {"type": "BPE", "vocab": {"l": 1, "h": 0, "\u0120hl": 2}, "merges": ["h l", ["a", "b c"]]},
      "vocab": {"model": {"vocab": {"y": 3}}}, "merges": ["z z"],
      "": {"model": {"vocab": {"w": 4}, "merges": ["w w"]}},
      "model/vocab": {"z": 4}, "model/merges": ["y y"]})");
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->vocab, (Vocab{{"l", 1}, {"h", 0}, {"\xc4\xa0hl", 2}}));
  EXPECT_EQ(taken->merges, (Merges{{"h", "l"}, {"a", "b c"}}));
  EXPECT_EQ(taken->rest, json::parse(R"({"a": [1, {"vocab": {"x": 1}}, -2.5, null],
      "model": {"type": "BPE", "vocab": {}, "merges": []},
      "vocab": {"model": {"vocab": {"y": 3}}}, "merges": ["z z"],
      "": {"model": {"vocab": {"w": 4}, "merges": ["w w"]}},
      "model/vocab": {"z": 4}, "model/merges": ["y y"]})"));
}

TEST(TokenizerJson, TakesAWholeVocabJson) {
  const auto taken = take_tokenizer_json(R"({"b": 0, "a": 7})", kVocabJsonPlaces, {});
  ASSERT_TRUE(taken.has_value());
  EXPECT_EQ(taken->vocab, (Vocab{{"b", 0}, {"a", 7}}));
  EXPECT_TRUE(taken->merges.empty());
  EXPECT_EQ(taken->rest, json::object());
}

TEST(TokenizerJson, TakesNothingOfWhatIsNotPlain) {
  const auto with = [](const std::string& vocab, const std::string& merges) {
    return R"({"model": {"vocab": )" + vocab + R"(, "merges": )" + merges + "}}";
  };
  ASSERT_TRUE(take(with(R"({"a": 1048575})", "[]")).has_value());
  for (const char* vocab :
       {"{}", "[]", "null", R"({"a": -1})", R"({"a": 1.0})", R"({"a": 1048576})", R"({"a": "1"})",
        R"({"a": 18446744073709551616})", R"({"a": {}})", R"({"a": [1]})", R"([{"a": 1}])",
        R"({"a": null})", R"({"a": true})", R"({"a": 1, "b": 2, "a": 1})"}) {
    EXPECT_FALSE(take(with(vocab, "[]")).has_value()) << vocab;
  }
  for (const char* merges :
       {"{}", "null", "[1]", "[null]", R"(["a"])", R"(["a b c"])", R"([" b"])", R"(["a "])",
        R"([["a"]])", R"([["a", "b", "c"]])", R"([["a", 1]])", R"([["a", ["b"]]])", R"([{"a": 1}])",
        R"([["a", {}]])", R"([[["a b"]]])"}) {
    EXPECT_FALSE(take(with(R"({"a": 1})", merges)).has_value()) << merges;
  }
  for (const char* text :
       {"", "{}", "[]", "7", R"({"model": {"vocab": {"a": 1}}})", R"({"model": {"merges": []}})",
        R"({"model": {"vocab": {"a": 1}, "vocab": {"b": 1}, "merges": []}})",
        R"({"model": {"vocab": {"a": 1}, "merges": []}, "x": 1, "x": 1})",
        R"({"model": {"vocab": {"a": 1}, "merges": []})",
        R"({"model": {"vocab": {"a": 1}, "merges": []}} x)"}) {
    EXPECT_FALSE(take(text).has_value()) << text;
  }
  EXPECT_FALSE(take(with(R"({"a": 1})", "[]") + '\0').has_value());
}

TEST(TokenizerJson, TakesNothingOverALimit) {
  const std::string text = R"({"model": {"vocab": {"a": 1}, "merges": []}, "x": [[0]]})";
  Limits limits;
  limits.json_depth = 3;
  EXPECT_TRUE(take(text, limits).has_value());
  limits.json_depth = 2;
  EXPECT_FALSE(take(text, limits).has_value());
  limits = {};
  limits.json_bytes = static_cast<std::int64_t>(text.size()) - 1;
  EXPECT_FALSE(take(text, limits).has_value());
}

TEST(TokenizerJson, APlainFileAndOneThatIsReadWholeMakeTheSameTokenizer) {
  TempDir plain, other;
  json root = small_tokenizer();
  plain.write("tokenizer.json", root.dump());
  json& id = root["model"]["vocab"].begin().value();
  id = id.get<double>();  // 1.0 is an integer, but not plain
  other.write("tokenizer.json", root.dump());
  BpeData a = read_tokenizer_json(plain.path(), {});
  BpeData b = read_tokenizer_json(other.path(), {});
  std::sort(a.vocab.begin(), a.vocab.end());
  std::sort(b.vocab.begin(), b.vocab.end());
  EXPECT_EQ(a.vocab, b.vocab);
  EXPECT_EQ(a.merges, b.merges);
  EXPECT_EQ(a.added.size(), b.added.size());
  EXPECT_FALSE(a.merges.empty());
}

}  // namespace
}  // namespace reelm::llm
