// The tokenizers of ChatGLM2 and ChatGLM3 over a small model: what the sentencepiece package says
// (tools/make_chatglm2_goldens.py), and the tokens behind the pieces.
#include <gtest/gtest.h>

#include "core/json.h"
#include "llm/tokenizer.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

const std::filesystem::path kGoldens =
    std::filesystem::path(REELM_SOURCE_DIR) / "tests/goldens/chatglm2";
constexpr const char* kRemake = "\nmake the goldens again: python tools/make_chatglm2_goldens.py";
constexpr const char* kSecond = R"({"model_type": "chatglm", "multi_query_group_num": 2)";

class ChatGlm2Tokenizer : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> load(const std::string& config) {
    std::filesystem::copy_file(kGoldens / "tokenizer.model", dir_.path() / "tokenizer.model",
                               std::filesystem::copy_options::overwrite_existing);
    dir_.write("config.json", config);
    return load_tokenizer(dir_.path());
  }
  const Json goldens_ = read_json_file(kGoldens / "tokenizer.json");
  const std::int64_t pieces_ = goldens_["pieces"];
  testing::TempDir dir_;
};

TEST_F(ChatGlm2Tokenizer, EncodesAndDecodesAsThePackage) {
  const auto tokenizer = load(std::string(kSecond) + "}");
  ASSERT_GT(goldens_["encode"].size(), 25u);
  for (const Json& entry : goldens_["encode"]) {
    EXPECT_EQ(Json(tokenizer->encode(entry["text"].get<std::string>())), entry["ids"])
        << entry.dump() << kRemake;
  }
  ASSERT_GT(goldens_["decode"].size(), 60u);
  for (const Json& entry : goldens_["decode"]) {
    const auto ids = entry["ids"].get<std::vector<TokenId>>();
    EXPECT_EQ(tokenizer->decode(ids, true), entry["text"]) << entry.dump() << kRemake;
    StreamDecoder stream(*tokenizer);
    std::string text;
    for (const TokenId id : ids) text += stream.push(id);
    EXPECT_EQ(text + stream.finish(), entry["text"]) << entry.dump();
  }
}

TEST_F(ChatGlm2Tokenizer, SpecialTokensFollowThePieces) {
  const auto second = load(std::string(kSecond) + "}");
  const auto first = static_cast<TokenId>(pieces_);
  EXPECT_EQ(second->vocab_size(), pieces_ + 5);
  EXPECT_EQ(second->special_id("[MASK]"), first);
  EXPECT_EQ(second->special_id("[gMASK]"), first + 1);
  EXPECT_EQ(second->special_id("sop"), first + 3);
  EXPECT_EQ(second->special_id("eop"), first + 4);
  EXPECT_EQ(second->special_id("</s>"), 2);
  EXPECT_EQ(second->special_id("<|user|>"), std::nullopt);
  EXPECT_TRUE(second->is_special(first + 4));
  EXPECT_FALSE(second->has_token(first + 5));
  EXPECT_EQ(second->decode(std::vector<TokenId>{first + 1, first + 3}, false), "[gMASK]sop");

  const auto third = load(std::string(kSecond) + R"(, "_name_or_path": "THUDM/chatglm3-6b"})");
  EXPECT_EQ(third->vocab_size(), pieces_ + 9);
  EXPECT_EQ(third->special_id("<|system|>"), first + 5);
  EXPECT_EQ(third->special_id("<|user|>"), first + 6);
  EXPECT_EQ(third->special_id("<|assistant|>"), first + 7);
  EXPECT_EQ(third->special_id("<|observation|>"), first + 8);
}

TEST_F(ChatGlm2Tokenizer, TextNeverYieldsThem) {
  const auto tokenizer = load(std::string(kSecond) + R"(, "_name_or_path": "chatglm3"})");
  for (const TokenId id : tokenizer->encode("[gMASK]sop<|user|></s>")) {
    EXPECT_FALSE(tokenizer->is_special(id));
  }
  const auto first = static_cast<TokenId>(pieces_);
  EXPECT_EQ(tokenizer->encode_with_specials("[gMASK]sop<|user|>"),
            (std::vector<TokenId>{first + 1, first + 3, first + 6}));
}

TEST_F(ChatGlm2Tokenizer, OtherModelsHaveThePiecesOnly) {
  EXPECT_EQ(load(R"({"model_type": "llama"})")->vocab_size(), pieces_);
}

}  // namespace
}  // namespace reelm::llm
