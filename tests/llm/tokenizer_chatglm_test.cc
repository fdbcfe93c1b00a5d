// The tokenizer of the first ChatGLM over a small model: what the sentencepiece package says with
// the text rules of tokenization_chatglm.py (tools/make_chatglm_goldens.py), and where its ids
// begin.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "core/json.h"
#include "llm/tokenizer.h"
#include "tests/llm/tokenizer_testing.h"

namespace reelm::llm {
namespace {

using ::testing::HasSubstr;

const std::filesystem::path kGoldens =
    std::filesystem::path(REELM_SOURCE_DIR) / "tests/goldens/chatglm";
constexpr const char* kRemake = "\nmake the goldens again: python tools/make_chatglm_goldens.py";

class ChatGlmTokenizer : public ::testing::Test {
 protected:
  std::unique_ptr<Tokenizer> load(const std::string& config = R"({"num_image_tokens": 0})") {
    std::filesystem::copy_file(kGoldens / "ice_text.model", dir_.path() / "ice_text.model",
                               std::filesystem::copy_options::overwrite_existing);
    dir_.write("tokenizer_config.json", config);
    return load_tokenizer(dir_.path());
  }
  /// The same of the stream as of decode.
  static std::string decoded(const Tokenizer& tokenizer, const std::vector<TokenId>& ids) {
    StreamDecoder stream(tokenizer);
    std::string text;
    for (const TokenId id : ids) text += stream.push(id);
    EXPECT_EQ(text + stream.finish(), tokenizer.decode(ids, true));
    return tokenizer.decode(ids, true);
  }
  const Json goldens_ = read_json_file(kGoldens / "tokenizer.json");
  const std::int64_t pieces_ = goldens_["pieces"];
  testing::TempDir dir_;
};

TEST_F(ChatGlmTokenizer, EncodesAndDecodesAsTheReference) {
  const auto tokenizer = load();
  EXPECT_EQ(tokenizer->vocab_size(), pieces_);
  ASSERT_GT(goldens_["encode"].size(), 35u);
  for (const Json& entry : goldens_["encode"]) {
    EXPECT_EQ(Json(tokenizer->encode(entry["text"].get<std::string>())), entry["ids"])
        << entry.dump() << kRemake;
  }
  ASSERT_GT(goldens_["decode"].size(), 70u);
  for (const Json& entry : goldens_["decode"]) {
    EXPECT_EQ(decoded(*tokenizer, entry["ids"].get<std::vector<TokenId>>()), entry["text"])
        << entry.dump() << kRemake;
  }
}

TEST_F(ChatGlmTokenizer, WhiteSpaceHasPieces) {
  const auto tokenizer = load();
  const std::vector<TokenId> ids = tokenizer->encode("a\n\n\tb" + std::string(85, ' ') + "c");
  std::vector<std::string> bytes;
  for (const TokenId id : ids) bytes.push_back(tokenizer->token_bytes(id));
  EXPECT_THAT(bytes,
              ::testing::IsSupersetOf({std::string("\n"), std::string("\n"), std::string("\t"),
                                       std::string(80, ' '), std::string(5, ' ')}));
  for (const TokenId id : ids) EXPECT_FALSE(tokenizer->is_special(id));
  // A run is no dummy prefix: it stays where it comes first.
  EXPECT_EQ(decoded(*tokenizer, {ids.end() - 3, ids.end() - 1}), std::string(85, ' '));
}

TEST_F(ChatGlmTokenizer, IdsBeginBehindTheImageTokens) {
  const auto text = load(), images = load(R"({"num_image_tokens": 30})"), first = load("{}");
  EXPECT_EQ(images->vocab_size(), pieces_ + 30);
  EXPECT_EQ(first->vocab_size(), pieces_ + 20'000);
  EXPECT_EQ(*images->special_id("[gMASK]"), *text->special_id("[gMASK]") + 30);
  EXPECT_TRUE(images->is_special(*images->special_id("<eop>")));
  EXPECT_FALSE(images->is_special(*text->special_id("<unk>")));
  std::vector<TokenId> ids = text->encode("Hello\n");
  for (TokenId& id : ids) id += 30;
  EXPECT_EQ(images->encode("Hello\n"), ids);
  ids.insert(ids.begin(), {0, 29});  // say nothing
  EXPECT_EQ(decoded(*images, ids), "Hello\n");
  EXPECT_FALSE(images->has_token(29));
  try {
    (void)images->token_bytes(29);
    FAIL() << "an image token has bytes";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::kInvalidArgument);
    EXPECT_THAT(e.what(), HasSubstr("token id 29 is no piece, expected 30 to"));
  }
  EXPECT_THROW((void)load(R"({"num_image_tokens": -1})"), Error);
}

TEST_F(ChatGlmTokenizer, TextNeverYieldsSpecialTokens) {
  const auto tokenizer = load();
  for (const TokenId id : tokenizer->encode("[gMASK]<sop></s>[MASK]<eop>")) {
    EXPECT_FALSE(tokenizer->is_special(id));
  }
  const std::vector<TokenId> ids = tokenizer->encode_with_specials("a\n[gMASK]<sop>");
  ASSERT_GE(ids.size(), 3u);
  EXPECT_EQ(ids.back(), *tokenizer->special_id("<sop>"));
  EXPECT_EQ(ids[ids.size() - 2], *tokenizer->special_id("[gMASK]"));
  EXPECT_EQ(tokenizer->token_bytes(ids[ids.size() - 3]), "\n");
}

}  // namespace
}  // namespace reelm::llm
